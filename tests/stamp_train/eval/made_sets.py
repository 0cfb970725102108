"""A checkpoint that says `<|seg|>` now and then, shard sets written by hand, and runners whose answers are known."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stamp_data.grid import patch_grid
from stamp_data.rle import encode
from stamp_schemas import Content, Dialogue, Grid, ImageInfo, Message, Record, SourceInfo, TargetInfo
from stamp_schemas.record import RECORD_SCHEMA
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, preset_config
from stamp_train.eval.cases import Case, ImageCases, Mask
from stamp_train.eval.representation import Representation
from stamp_train.generation.replies import Answer
from stamp_train.methods import default_settings, store
from stamp_train.methods.patches import coverage_logits
from stamp_train.methods.upsample import to_mask

from ...stamp_data.handmade import Made, write_records

SIDE = 24  # pixels of a picture


def save_lively(folder: Path) -> Path:
    """A model that does not repeat itself: loud layers, an output matrix of its own, and a taste for `<|seg|>`."""
    processor = build_preset("tiny")[1]
    config: Any = preset_config("tiny", processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    store(default_settings(), config)
    torch.manual_seed(3)
    model = model_class("qwen2_vl")._from_config(config).eval()
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)
        model.lm_head.weight.normal_()
        model.lm_head.weight[processor.chat.seg_id] *= 2.5
    model.generation_config.eos_token_id = processor.chat.control["<|im_end|>"]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


class Known:
    """Answers with masks that a function of the case says, as logit pictures of the picture's own size."""

    def __init__(self, masks: Callable[[Case], Sequence[Mask]]) -> None:
        self.masks = masks
        self.asked: list[list[str]] = []

    def answer(self, images: Sequence[ImageCases], mode: str) -> list[list[Answer]]:
        self.asked.append([case.id for one in images for case in one.cases])
        return [[self._answer(case, mode) for case in one.cases] for one in images]

    def _answer(self, case: Case, mode: str) -> Answer:
        logits = tuple(torch.from_numpy(np.where(mask, 3.0, -3.0)).float() for mask in self.masks(case))
        content = f"{mode} " + "<|seg|>" * len(logits)
        return Answer(mode, content, (), logits, "stop")


def decoded(labels: np.ndarray, height: int, width: int, method: str = "bilinear", image: Any = None) -> Mask:
    """What a model would draw whose probabilities are these labels."""
    return to_mask(coverage_logits(labels), height, width, method, image)


def oracle(
    truth: Mask,
    least: int = 1024,
    most: int = 1280,
    rule: str = "soft",
    side: int = 1,
    method: str = "bilinear",
    ignore: Mask | None = None,
) -> Mask:
    """What a model would draw that has learnt the labels of a mask without a fault."""
    labels = Representation(rule, side).labels(truth, patch_grid(*truth.shape, least, most), ignore)
    return decoded(labels, *truth.shape, method)


def square(top: int, left: int, side: int) -> Mask:
    """A mask [SIDE, SIDE] of one square."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def target(name: str, mask: Mask, ignore: Mask | None = None) -> TargetInfo:
    rle = encode(mask.astype(np.uint8))
    hidden = None if ignore is None else encode(ignore.astype(np.uint8))
    return TargetInfo(name, rle, int(mask.sum()), (0.0, 0.0, 1.0, 1.0), [], [], hidden)


def dialogue(name: str, expression: str, targets: list[int], *turns: str) -> Dialogue:
    """Turns by user and assistant alternating; the first comes with the picture."""
    messages = [
        Message("assistant" if i % 2 else "user", [Content("image")] * (i == 0) + [Content("text", text)])
        for i, text in enumerate(turns)
    ]
    return Dialogue(name, expression, targets, messages)


def write_set(folder: Path, records: Sequence[tuple[list[TargetInfo], list[Dialogue]]], **settings: Any) -> Path:
    """A set of one shard, a picture of `SIDE` pixels for each record."""
    return write_records(folder, [_made(number, *record) for number, record in enumerate(records)], **settings)


def _made(number: int, targets: list[TargetInfo], dialogues: list[Dialogue]) -> Made:
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    key, info = f"made-{number:03d}", ImageInfo(f"{number}.png", SIDE, SIDE)
    record = Record(RECORD_SCHEMA, key, SourceInfo("made", "", "val", number), info, Grid(2, 2), targets, dialogues)
    return Made(record, buffer.getvalue())
