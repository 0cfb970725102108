"""The scene model: what is in a picture, before anything is drawn or said.

A scene is a painter's list of things (later ones lie on top). Geometry is in pixels, pixel (column j, row i) being the
unit square [j, j+1) x [i, i+1) as in COCO. Everything else (pixels, masks, expressions) derives from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from shapely.geometry import box

from stamp_data.synth.shapes import SHAPES, outline

T = TypeVar("T")
RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (214, 45, 52),
    "orange": (243, 139, 32),
    "yellow": (247, 213, 62),
    "green": (52, 160, 84),
    "blue": (46, 108, 214),
    "purple": (139, 74, 178),
    "black": (42, 42, 50),
}

FEWEST, MOST = 3, 7
SMALLEST, LARGEST = 0.105, 0.23  # radius, as a share of the picture's shorter side
LEAST_VISIBLE = 0.65  # of a thing's own area; below that its shape is no longer told at a glance
LEAST_AREA = 0.01  # of the picture, so that even the smallest thing is worth a mask


class Stream(IntEnum):
    """What random numbers are for. Streams are independent: to draw more from one never shifts another."""

    IDS = 0
    SCENE = 1
    PAINT = 2
    REFCOCO = 3
    REFCOCO_PLUS = 4
    REFCOCOG = 5
    REFCLEF = 6
    GREFCOCO = 7
    REASON_SEG = 8
    LLAVA = 9


def generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """The random numbers of picture `index` for one purpose, whatever was drawn for other pictures before."""
    word = (1 << 64) - 1
    return np.random.Generator(np.random.Philox(key=np.array([seed & word, index << 4 | stream], dtype=np.uint64)))


def pick(options: Sequence[T], rng: np.random.Generator) -> T:
    """One of them, all equally likely."""
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Thing:
    """One object: its words, its whole outline and the part of it that can be seen (shapely geometries, pixels)."""

    shape: str
    colour: str
    whole: Any
    visible: Any

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Centroid (x, y) of the visible part, in pixels."""
        point = self.visible.centroid
        return float(point.x), float(point.y)

    @cached_property
    def area(self) -> float:
        """Visible area in square pixels."""
        return float(self.visible.area)

    @cached_property
    def whole_area(self) -> float:
        """Area in square pixels as if nothing covered it."""
        return float(self.whole.area)


@dataclass(frozen=True)
class Scene:
    """A picture's contents: `things` from back to front, inside `width` x `height` pixels."""

    width: int
    height: int
    things: tuple[Thing, ...]


def sample_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw a scene of `size` = (width, height) pixels.

    Few shapes and few colours per scene make twins likely, so that words like "leftmost" are needed; some things are
    put against another on purpose, so that occlusion is common.
    """
    width, height = size
    shapes = rng.permutation(list(SHAPES))[: rng.integers(3, 6)]
    colours = rng.permutation(list(COLOURS))[: rng.integers(3, 6)]
    wanted = int(rng.integers(FEWEST, MOST + 1))
    placed: list[Thing] = []
    tries = 0
    while len(placed) < FEWEST or (len(placed) < wanted and tries < 12 * MOST):
        tries += 1
        centre, radius = _place(rng, size, placed)
        shape = str(rng.choice(shapes))
        whole = outline(shape, centre, radius, float(rng.uniform(-1, 1)))
        placed = _put_on_top(placed, Thing(shape, str(rng.choice(colours)), whole, whole), size) or placed
    return Scene(width, height, tuple(placed))


def _place(rng: np.random.Generator, size: tuple[int, int], placed: list[Thing]) -> tuple[tuple[float, float], float]:
    """A centre (x, y) and a radius in pixels: anywhere, or (one time in three) against an earlier thing."""
    width, height = size
    # Small things are more common than large ones, as in photographs.
    share = SMALLEST + (LARGEST - SMALLEST) * float(rng.random()) ** 1.4
    radius = share * min(size)
    if placed and rng.random() < 0.34:
        x, y = pick(placed, rng).centre
        angle, distance = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(1.0, 1.7)) * radius
        return (x + distance * float(np.cos(angle)), y + distance * float(np.sin(angle))), radius
    return (float(rng.uniform(0.06, 0.94)) * width, float(rng.uniform(0.08, 0.92)) * height), radius


def _put_on_top(placed: list[Thing], new: Thing, size: tuple[int, int]) -> list[Thing] | None:
    """The things with `new` in front of them, or None where that would hide one of them too far."""
    frame = box(0, 0, *size)
    stack = []
    for thing in [*placed, new]:
        under = thing is not new and thing.visible.intersects(new.whole)
        visible = thing.visible.difference(new.whole) if under else thing.visible
        if thing is new:
            visible = visible.intersection(frame)
        if under and visible.area > 0.97 * thing.visible.area:
            return None  # a mere graze looks like a mistake
        if under and thing.colour == new.colour:
            return None  # the edge between the two would hardly show
        if visible.area < max(LEAST_VISIBLE * thing.whole_area, LEAST_AREA * frame.area):
            return None
        stack.append(Thing(thing.shape, thing.colour, thing.whole, visible))
    return stack
