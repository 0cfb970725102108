"""Records for shard sets, made by saying what is in them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.grid import coverage, patch_grid
from stamp_schemas import Content, Dialogue, ImageInfo, Message, Record, SourceInfo, TargetInfo

from ..handmade import Made, write_records

Box = tuple[int, int, int, int]
HOSTILE = '</script><img src=x onerror="window.hacked=1"><!--<script>&amp; \u2028 <|im_end|>'


@dataclass
class Scene:
    """A record in the making: a picture of noise and boxes (left, top, right, bottom) as masks."""

    key: str
    width: int = 160
    height: int = 120
    seed: int = 0
    targets: list[TargetInfo] = field(default_factory=list)
    dialogues: list[Dialogue] = field(default_factory=list)

    def target(
        self, name: str, box: Box | None, category: str = "dog", instances: Sequence[str] | None = None
    ) -> Scene:
        mask = np.zeros((self.height, self.width), np.uint8)
        if box is not None:
            mask[box[1] : box[3], box[0] : box[2]] = 1
        return self.masked(name, mask, category, instances)

    def masked(self, name: str, mask: Any, category: str = "dog", instances: Sequence[str] | None = None) -> Scene:
        rle = rles.encode(mask)
        owners = list(instances) if instances is not None else ([name] if mask.any() else [])
        categories = [category] * len(owners)
        self.targets.append(TargetInfo(name, rle, rles.area(rle), rles.bbox(rle), owners, categories, None))
        return self

    def says(self, text: str, targets: Sequence[int], *, passes: int = 1, answer: str = "") -> Scene:
        name = len({dialogue.id.split("-")[0] for dialogue in self.dialogues})
        for number in range(passes):
            reply = answer or f"It is {' '.join(['<|seg|>'] * len(targets))}."
            question = [Content("image"), Content("text", f"Please segment {text}.")]
            messages = [Message("user", question), Message("assistant", [Content("text", reply)])]
            self.dialogues.append(Dialogue(f"{name}-p{number}", text, list(targets), messages))
        return self

    def made(self, split: str = "train") -> Made:
        grid = patch_grid(self.height, self.width)
        record = Record(
            "stamp.record/1",
            self.key,
            SourceInfo("tiny", "", split, self.key),
            ImageInfo(f"{self.key}.jpg", self.width, self.height),
            grid,
            self.targets,
            self.dialogues,
        )
        labels = [coverage(rles.decode(target.rle), grid) for target in self.targets]
        return Made(record, picture(self.width, self.height, self.seed), np.stack(labels) if labels else None)


def picture(width: int, height: int, seed: int, kind: str = "JPEG", **options: Any) -> bytes:
    """A smooth picture, as bytes."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def chat(key: str, *turns: str) -> Made:
    """A conversation without a picture."""
    roles = ("user", "assistant")
    messages = [Message(roles[place % 2], [Content("text", turn)]) for place, turn in enumerate(turns)]  # type: ignore[arg-type]
    record = Record(
        "stamp.record/1", key, SourceInfo("tiny", "", "train", key), None, None, [], [Dialogue("0", "", [], messages)]
    )
    return Made(record)


def write_set(
    out: Path, made: Sequence[Made], *, dataset: str = "tiny", split: str = "train", tokens: bool = False
) -> Path:
    """Write records as the set OUT/dataset/split."""
    return write_records(out / dataset / split, made, tokens=tokens)


def zoo() -> list[Made]:
    """A few records of every kind: one target, several, none, two passes, a conversation, hostile text."""
    made = [
        Scene(f"r{number:02d}", seed=number)
        .target("a", (10 + number, 10, 70, 90))
        .target("b", (90, 20, 150, 100), "cat")
        .target("both", (20, 100, 140, 115), "pair", ["a", "b"])
        .target("none", None)
        .says(f"the dog number {number}", [0], passes=2)
        .says("both animals", [2])
        .says("the dog and the cat", [0, 1])
        .says("the unicorn", [3])
        .made()
        for number in range(10)
    ]
    hostile = Scene("hostile", seed=99).target(HOSTILE, (5, 5, 60, 60), HOSTILE).says(HOSTILE, [0]).made()
    talk = chat("talk", "What is a patch?", "A square of pixels.", "And a grid?", "Many of them.")
    tiny = Scene("tiny-thing", seed=50).target("t", (30, 30, 32, 32), "ant").says("the ant", [0]).made()
    return [*made, hostile, talk, tiny]
