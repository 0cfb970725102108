"""Small shard sets made to order: a source that yields what it is given, and a few records of every kind."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from stamp_data.build.split import build_split, describe_inputs
from stamp_data.executors.local import LocalExecutor
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.base import Source
from stamp_schemas import Annotation, ImageRef, Region, Request, Settings, Target, Turn


class ListSource(Source):
    """Annotations from a list, each with the pictures that `draw` left under the root."""

    dataset = "tiny"
    licence = "CC0-1.0"
    homepage = "https://example.org/tiny"

    def __init__(self, root: Path, annotations: Sequence[Annotation]) -> None:
        super().__init__(root)
        self._annotations = list(annotations)
        root.mkdir(parents=True, exist_ok=True)
        self.inputs[0].write_bytes(msgspec.json.encode(self._annotations))

    @classmethod
    def find(cls, root: Path) -> list[str]:
        return [""] if (root / "tiny.json").exists() else []

    @property
    def inputs(self) -> list[Path]:
        return [self.root / "tiny.json"]

    def load(self) -> None:
        """The annotations are there already."""

    def splits(self) -> list[str]:
        return ["train"]

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        assert split in self.splits()
        rejects.add("tiny.json", "annotation 0", "empty-text", "one that the plan refuses", expressions=1)
        yield from self._annotations


def draw(root: Path, name: str, width: int, height: int, seed: int) -> str:
    """Write a picture of smooth noise; returns its path below the root."""
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return f"images/{name}"


def box(x0: float, y0: float, x1: float, y1: float, role: str = "target") -> Region:
    """A rectangle as a region."""
    return Region(msgspec.Raw(json.dumps([[x0, y0, x1, y0, x1, y1, x0, y1]]).encode()), ("tiny.json", "a box"), role)


def pictured(root: Path, number: int, *, suffix: str = "jpg") -> Annotation:
    """A picture with three expressions: of one target, of two at once, and of nothing that is there."""
    width, height = 64 + 8 * (number % 5), 48 + 4 * (number % 7)
    path = draw(root, f"{number:04d}.{suffix}", width, height, number)
    shift = number % 11
    targets = [
        Target("left", [box(2 + shift, 3, 30, 40.5)], ["7"], ["dog"]),
        Target("right", [box(33, 5, 60, 30), box(35, 8, 50, 44), box(40, 10, 46, 20, "ignore")], ["8", "9"], ["cat"]),
        Target("nothing"),
    ]
    requests = [
        Request("0", f"the dog № {number}", [0], ("tiny.json", "sentence 0")),
        Request("1", "the cat and the dog", [1, 0], ("tiny.json", "sentence 1")),
        Request("2", "a unicorn", [2], ("tiny.json", "sentence 2")),
    ]
    return Annotation(str(number), ("tiny.json", f"{number}"), ImageRef(path, width, height), targets, requests)


def spoken(root: Path, number: int, *, picture: bool) -> Annotation:
    """A conversation of two rounds, about a picture or not."""
    image = ImageRef(draw(root, f"{number:04d}.png", 40, 30, number)) if picture else None
    turns = [
        Turn("user", "What is here?", "before" if picture else ""),
        Turn("assistant", "Nothing much."),
        Turn("user", "Really?"),
        Turn("assistant", "Yes – really."),
    ]
    return Annotation(f"talk {number}", ("tiny.json", f"{number}"), image, conversation=turns)


def assorted(root: Path, count: int) -> ListSource:
    """A source of `count` records of every kind."""
    made = []
    for number in range(count):
        if number % 5 < 3:
            made.append(pictured(root, number, suffix="png" if number % 5 == 1 else "jpg"))
        else:
            made.append(spoken(root, number, picture=number % 5 == 3))
    return ListSource(root, made)


def build(source: Source, out: Path, **options: Any) -> Path:
    """Build the train split of a source; returns the folder of the set."""
    chosen = {"shard_records": 4, "min_tokens": 16, "max_tokens": 64} | options
    settings = Settings(dataset=source.dataset, split_by=source.split_by, split="train", **chosen)
    built = build_split(source, settings, out, LocalExecutor(1), inputs=describe_inputs(source))
    return built.folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def jpeg(width: int, height: int) -> bytes:
    """The bytes of a small grey picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()
