"""Help with drawing that needs no weights: what a box holds, what is like a place, the edge between two places (OpenCV).

Each takes the upright picture, uint8 [height, width, 3] RGB, and places (x, y) in its pixels; large pictures are looked at
smaller, around the places that are meant. The extra `annotate` brings OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from stamp_data import rle
from stamp_schemas import RLE, StampError

UInt8 = npt.NDArray[np.uint8]
Coordinate = Annotated[float, Meta(ge=-1e9, le=1e9)]  # what is far larger could not be reckoned with
Place = tuple[Coordinate, Coordinate]
CUT_SIDE = 384  # pixels of the part that GrabCut looks at
CUT_ROUNDS = 3
EDGE_SIDE = 640  # of the part that an edge is looked for in
ALIKE_SIDE = 1024  # of the picture that is divided into superpixels,
ALIKE_STEP = 24  # and from the middle of one to the next
MARGIN = 0.25  # of the size of what is meant, on every side


class Suggestion(msgspec.Struct, omit_defaults=True):
    """masks: of the picture, the best first. path: places along an edge. model: whose proposal it is, "" if of none."""

    masks: list[RLE] = []
    path: list[Place] = []
    model: str = ""


Suggest = Callable[[UInt8, Sequence[Place]], Suggestion]


def in_box(pixels: UInt8, places: Sequence[Place]) -> Suggestion:
    """The thing within a box of two corners, by GrabCut (Rother et al., 2004). StampError if the box says too little."""
    import cv2

    (left, top), (right, bottom) = np.sort(np.asarray(_two(places)), axis=0)
    view = _View(pixels, (left, top, right, bottom), CUT_SIDE)
    x, y = view.inside(left, top)
    x, y = max(int(x), 0), max(int(y), 0)
    wide, high = (int(np.ceil(side * view.scale)) for side in (right - left, bottom - top))
    high, wide = min(high, view.part.shape[0] - y), min(wide, view.part.shape[1] - x)
    if min(wide, high) < 3:
        raise StampError("the box is too small to tell a thing from what is around it")
    if wide * high == view.part.shape[0] * view.part.shape[1]:
        raise StampError("the box holds the whole picture: leave some of what is around the thing outside")
    labels = np.zeros(view.part.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(view.part, labels, (x, y, wide, high), *models, CUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
    return Suggestion([view.whole((labels & 1).astype(np.uint8))])


def alike(pixels: UInt8, places: Sequence[Place]) -> Suggestion:
    """The superpixels that hold the places: the picture divided along its edges, by watersheds from a grid of seeds."""
    height, width = pixels.shape[:2]
    labels = _superpixels(_Same(pixels))
    down, across = labels.shape[0] / height, labels.shape[1] / width
    found = np.zeros(labels.shape, np.uint8)
    for x, y in places:
        row, column = math.floor(y * down), math.floor(x * across)
        if not (0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]):
            raise StampError("this place is outside of the picture")
        found |= (labels == labels[row, column]).astype(np.uint8)
    return Suggestion([rle.encode(_enlarged(found, height, width))])


def along_edge(pixels: UInt8, places: Sequence[Place]) -> Suggestion:
    """The way from one place to another along edges, by intelligent scissors (Mortensen and Barrett, 1995)."""
    import cv2

    start, end = _two(places)
    view = _View(pixels, (*np.minimum(start, end), *np.maximum(start, end)), EDGE_SIDE)
    high, wide = view.part.shape[:2]
    ends = [
        tuple(int(np.clip(side, 0, most - 1)) for side, most in zip(view.inside(*place), (wide, high), strict=True))
        for place in (start, end)
    ]
    scissors = cv2.segmentation.IntelligentScissorsMB()
    scissors.setEdgeFeatureCannyParameters(32, 100)
    scissors.applyImage(view.part)
    scissors.buildMap(ends[0])
    path = scissors.getContour(ends[1]).reshape(-1, 2)
    return Suggestion(path=[start, *(view.outside(x + 0.5, y + 0.5) for x, y in path[1:-1].tolist()), end])


WITHOUT_WEIGHTS: dict[str, Suggest] = {"in box": in_box, "alike": alike, "edge": along_edge}
"""What the page may ask for."""


class _View:
    """A part of a picture around a box (left, top, right, bottom), made smaller if a side has more than `most` pixels."""

    def __init__(self, pixels: UInt8, box: tuple[Any, ...], most: int) -> None:
        import cv2

        self.height, self.width = pixels.shape[:2]
        left, top, right, bottom = box
        margin = 16 + MARGIN * max(right - left, bottom - top)
        self.left, self.top = (
            int(np.clip(left - margin, 0, self.width - 1)),
            int(np.clip(top - margin, 0, self.height - 1)),
        )
        self.right, self.bottom = (
            int(np.clip(right + margin, self.left + 1, self.width)),
            int(np.clip(bottom + margin, self.top + 1, self.height)),
        )
        part = pixels[self.top : self.bottom, self.left : self.right]
        self.scale = min(1.0, most / max(part.shape[:2]))
        size = (max(1, round(part.shape[1] * self.scale)), max(1, round(part.shape[0] * self.scale)))
        self.part: UInt8 = np.ascontiguousarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))

    def inside(self, x: float, y: float) -> Place:
        return (x - self.left) * self.scale, (y - self.top) * self.scale

    def outside(self, x: float, y: float) -> Place:
        return x / self.scale + self.left, y / self.scale + self.top

    def whole(self, mask: UInt8) -> RLE:
        """A mask of the part, as one of the picture."""
        full = np.zeros((self.height, self.width), np.uint8)
        high, wide = self.bottom - self.top, self.right - self.left
        full[self.top : self.bottom, self.left : self.right] = _enlarged(mask, high, wide)
        return rle.encode(full)


class _Same:
    """Pixels as a key: the very same array."""

    def __init__(self, pixels: UInt8) -> None:
        self.pixels = pixels

    def __hash__(self) -> int:
        return id(self.pixels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.pixels is self.pixels


@lru_cache(maxsize=2)
def _superpixels(same: _Same) -> npt.NDArray[np.int32]:
    """A number for each pixel of the picture, made smaller; 0 is none's."""
    import cv2

    height, width = same.pixels.shape[:2]
    scale = min(1.0, ALIKE_SIDE / max(height, width))
    small = cv2.resize(
        same.pixels, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (3, 3), 0)
    edges = np.abs(cv2.Sobel(small, cv2.CV_32F, 1, 0)).sum(axis=2) + np.abs(cv2.Sobel(small, cv2.CV_32F, 0, 1)).sum(
        axis=2
    )
    seeds = np.zeros(small.shape[:2], np.int32)
    numbers = count(1)
    for top in range(0, small.shape[0], ALIKE_STEP):
        for left in range(0, small.shape[1], ALIKE_STEP):
            cell = edges[top : top + ALIKE_STEP, left : left + ALIKE_STEP]
            inner = cell[len(cell) // 4 : -(len(cell) // 4) or None, cell.shape[1] // 4 : -(cell.shape[1] // 4) or None]
            y, x = np.unravel_index(int(inner.argmin()), inner.shape)
            seeds[top + len(cell) // 4 + y, left + cell.shape[1] // 4 + x] = next(numbers)
    framed = cv2.copyMakeBorder(
        small, 1, 1, 1, 1, cv2.BORDER_REPLICATE
    )  # watersheds take what touches an edge for none's
    labels: npt.NDArray[np.int32] = cv2.watershed(framed, np.pad(seeds, 1))[1:-1, 1:-1]
    while (borders := labels <= 0).any():  # the lines between them go to a neighbour
        labels = np.where(
            borders, cv2.dilate(np.maximum(labels, 0).astype(np.float32), np.ones((3, 3))).astype(np.int32), labels
        )
    return labels


def _enlarged(mask: UInt8, height: int, width: int) -> UInt8:
    """A mask of 0 and 1 at another size, with smooth outlines."""
    import cv2

    if mask.shape == (height, width):
        return mask
    grey = cv2.resize(mask * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    large: UInt8 = (grey > 127).astype(np.uint8)
    return large


def _two(places: Sequence[Place]) -> tuple[Place, Place]:
    if len(places) != 2:
        raise StampError("this takes two places")
    return places[0], places[1]
