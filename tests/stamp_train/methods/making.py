"""Tiny models of every method, and dialogues whose labels are of masks, as a stream makes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch
from pycocotools import mask as coco_mask

from stamp_schemas import RLE, Content, Dialogue, Message, Record, SourceInfo, TargetInfo
from stamp_schemas.record import SEG
from stamp_train.backbones.presets import build_preset
from stamp_train.methods.argenseg.settings import ArgensegSettings
from stamp_train.methods.contract import Method, Settings
from stamp_train.methods.embedding.settings import EmbeddingSettings
from stamp_train.methods.self1e.settings import Self1eSettings
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.methods.text4seg.settings import Text4SegSettings
from stamp_train.sequence.examples import DialogueExample, ImageExample

from .embedding.sams import SHAPE

PIXELS = 1176  # numbers per patch of the tower
SETTINGS: dict[str, Settings] = {
    "stamp": StampSettings(head_width=16),
    "embedding": EmbeddingSettings(width=16),
    "embedding-at": EmbeddingSettings(width=16, read="at"),
    "embedding-sam": EmbeddingSettings(head="sam", shape=SHAPE),
    "self1e": Self1eSettings(),
    "self1e-none": Self1eSettings(attention="none"),
    "self1e-published": Self1eSettings(attention="published"),
    "argenseg": ArgensegSettings(vocabulary=64),
    "argenseg-scales": ArgensegSettings(
        vocabulary=64, scales=(1, 2, 4, 8), attention="scales", positions="plane", softmax="joint"
    ),
    "text4seg": Text4SegSettings(),
    "text4seg-fixed": Text4SegSettings(grid=24, label="fixed", sampling="coverage", parser="tolerant"),
}
ONE, TWO, TURNS = ("Sure: <|seg|>",), ("One <|seg|> and <|seg|> there.",), ("Here: <|seg|> it is.", "<|seg|>")


@cache
def tiny(name: str) -> SimpleNamespace:
    """A tiny model of a method, its processor and chat; do not change its weights."""
    model, processor = build_preset("tiny", method=SETTINGS[name])
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weight in model.classifier.parameters():
            if weight.ndim == 2:  # otherwise logits are nearly 0, whatever is wrong with them
                weight.normal_(std=weight.shape[1] ** -0.5)
    model.method.begin_readout(model.classifier, lambda: [record([("<|seg|>",) * 8], seed) for seed in range(40)])
    return SimpleNamespace(model=model, processor=processor, chat=processor.chat, method=model.method)


def mask(seed: int, size: tuple[int, int] = (84, 112)) -> np.ndarray:
    """A rectangle and a few holes: uint8 [height, width]."""
    random = np.random.default_rng(seed)
    made = np.zeros(size, np.uint8)
    top, left = random.integers(0, size[0] // 2), random.integers(0, size[1] // 2)
    made[top : top + size[0] // 2, left : left + size[1] // 2] = 1
    made[random.random(size) < 0.02] = 0
    return made


def packed(pixels: np.ndarray) -> RLE:
    """A mask as a record has it."""
    found = coco_mask.encode(np.asfortranarray(pixels))
    return RLE((pixels.shape[0], pixels.shape[1]), found["counts"].decode())


def record(answers: Sequence[Sequence[str]], seed: int = 0) -> Record:
    """One image with dialogues, of answers each."""
    dialogues: list[Dialogue] = []
    targets: list[TargetInfo] = []
    for number, turns in enumerate(answers):
        messages = []
        for turn, answer in enumerate(turns):
            image = [Content("image")] if turn == 0 else []
            messages.append(Message("user", [*image, Content("text", f"thing {number}")]))
            messages.append(Message("assistant", [Content("text", answer)]))
        first = len(targets)
        for _ in range("".join(turns).count(SEG)):
            rle = packed(mask(100 * seed + len(targets)))
            targets.append(TargetInfo(str(len(targets)), rle, 1, (0, 0, 1, 1), [], [], None))
        dialogues.append(Dialogue(f"d{number}", f"thing {number}", list(range(first, len(targets))), messages))
    return Record("stamp.record/1", f"r{seed}", SourceInfo("s", "b", "t", 1), None, None, targets, dialogues)


def example(method: Method, of: Record, grid: tuple[int, int], seed: int = 0) -> ImageExample:
    """A record over random pixel values of that grid of merged patches."""
    pixels = torch.randn(4 * grid[0] * grid[1], PIXELS, generator=torch.Generator().manual_seed(seed))
    dialogues = [
        DialogueExample(
            f"{of.key}/{one.id}",
            [
                {"role": message.role, "content": [{"type": part.type, "text": part.text} for part in message.content]}
                for message in one.messages
            ],
            [method.label(of, target, grid, None) for target in one.targets],
            [one.expression] * len(one.targets),
        )
        for one in of.dialogues
    ]
    return ImageExample(dialogues, pixels, (1, 2 * grid[0], 2 * grid[1]))
