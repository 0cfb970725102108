"""Cases as the page of an evaluation shows them: plain data, drawn by the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec
import numpy as np
from PIL import Image

from stamp_data.draw.outline import mask_path
from stamp_data.pixels import data_uri
from stamp_schemas import StampError
from stamp_train.eval.cases import CaseSet, ImageCases
from stamp_train.eval.scoring import Line

SIDE = 480  # pixels of a picture's longer side, at most
BINS = 20  # of the histogram over IoU

Key = tuple[str, str, int]
"""Set, id and number of a mask: what a line is of, whatever the variant."""


class Answered(msgspec.Struct):
    """What was answered. drawn: SVG path of the mask, in pixels of the picture."""

    answer: str
    iou: float
    drawn: str
    flags: list[str]


class CaseView(msgspec.Struct):
    """A mask of a case. kind: `none`, `one`, or `several` where the answer has more. area: of the true mask, as a share of the
    picture; words: of the expression. picture: number of it, -1 where the record cannot be read any more. truth: SVG path.
    place: of the set; file: the picture's, as the record names it. own, other: what this evaluation says, and what one does
    that it is compared with.
    """

    set: str
    id: str
    target: int
    expression: str
    kind: str
    area: float
    words: int
    width: int
    height: int
    picture: int
    truth: str
    place: str
    file: str
    own: Answered
    other: Answered | None


class Histogram(msgspec.Struct):
    """All masks by IoU, of which few may be shown."""

    name: str
    counts: list[int]


class PageData(msgspec.Struct):
    """What the script reads. pictures: data URIs. against: name of the other evaluation, "" without one."""

    pictures: list[str]
    cases: list[CaseView]
    histograms: list[Histogram]
    against: str


def key_of(line: Line) -> Key:
    return line.set, line.id, line.target


def histogram(name: str, lines: Sequence[Line]) -> Histogram:
    """lines: scored ones, of one variant."""
    counts, _ = np.histogram([line.iou for line in lines], BINS, (0, 1))
    return Histogram(name, counts.tolist())


@dataclass
class Views:
    """Makes views, each picture once. sets: by name, open. others: lines of the other evaluation."""

    sets: Mapping[str, CaseSet]
    others: Mapping[Key, Line]
    pictures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._load = lru_cache(maxsize=8)(self._loaded)

    def view(self, line: Line) -> CaseView:
        """A line with its picture and its true mask."""
        height, width = line.size
        source, record, other = self.sets[line.set], line.id.partition("/")[0], self.others.get(key_of(line))
        found = self._load(line.set, record)
        case = next((case for case in found.cases if case.id == line.id), None) if found else None
        truth = case.truths[line.target].mask if case and line.target < len(case.truths) else None
        several = case is not None and len(case.truths) > 1
        return CaseView(
            set=line.set,
            id=line.id,
            target=line.target,
            expression=line.expression,
            kind="none" if truth is not None and not truth.any() else "several" if several else "one",
            area=0.0 if truth is None else round(float(truth.mean()), 6),
            words=len(line.expression.split()),
            width=width,
            height=height,
            picture=-1 if truth is None or found is None else self._number(line.set, record, found),
            truth="" if truth is None else mask_path(truth.astype(np.uint8)),
            place=source.shards.place,
            file=found.file if found else "",
            own=_answered(line),
            other=_answered(other) if other else None,
        )

    def _number(self, name: str, record: str, found: ImageCases) -> int:
        if (name, record) not in self._numbers:
            assert found.image is not None  # it has cases
            small = found.image.copy()
            small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            self._numbers[name, record] = len(self.pictures)
            self.pictures.append(data_uri(small))
        return self._numbers[name, record]

    def _loaded(self, name: str, record: str) -> ImageCases | None:
        source = self.sets[name]
        try:
            found = source.load(source.shards.find(record))
        except StampError:
            return None
        return found if found.image is not None else None


def _answered(line: Line) -> Answered:
    return Answered(line.answer, line.iou, mask_path(line.mask().astype(np.uint8)), line.flags)
