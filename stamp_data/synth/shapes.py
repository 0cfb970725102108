"""Outlines of the shapes, as shapely geometries: each drawn around the origin in units of its radius, then placed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from shapely.affinity import affine_transform
from shapely.geometry import MultiPolygon, Polygon, box

_STEPS = 48  # corners of a "round" outline: below a tenth of a pixel of error at the sizes used here


def _round(radius_x: float, radius_y: float) -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * np.pi, _STEPS, endpoint=False)
    return [(radius_x * float(np.cos(t)), radius_y * float(np.sin(t))) for t in turns]


def _spokes(radii: tuple[float, ...], count: int) -> list[tuple[float, float]]:
    """Corners at equal angles, the first one straight up, their distances cycling through `radii`."""
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False) - np.pi / 2
    return [
        (radii[k % len(radii)] * float(np.cos(t)), radii[k % len(radii)] * float(np.sin(t)))
        for k, t in enumerate(turns)
    ]


def _cross(arm: float = 0.3, reach: float = 0.95) -> Any:
    return box(-reach, -arm, reach, arm).union(box(-arm, -reach, arm, reach))


def _equals_sign() -> Any:
    return MultiPolygon([box(-0.95, -0.65, 0.95, -0.18), box(-0.95, 0.18, 0.95, 0.65)])


@dataclass(frozen=True)
class Shape:
    """A shape's name in the plural, its COCO supercategory, its outline and how far it may be turned (radians).

    The turn is limited where more of it would make another word true: a square on its tip is a diamond.
    """

    plural: str
    family: str
    draw: Callable[[], Any]
    turn: float


SHAPES: dict[str, Shape] = {
    "circle": Shape("circles", "round", lambda: Polygon(_round(0.9, 0.9)), 0.0),
    "ellipse": Shape("ellipses", "round", lambda: Polygon(_round(1.1, 0.6)), np.pi / 2),
    "ring": Shape("rings", "round", lambda: Polygon(_round(1, 1), [_round(0.55, 0.55)]), 0.0),
    "square": Shape("squares", "angular", lambda: box(-0.8, -0.8, 0.8, 0.8), 0.3),
    "triangle": Shape("triangles", "angular", lambda: Polygon(_spokes((1.1,), 3)), 0.5),
    "star": Shape("stars", "angular", lambda: Polygon(_spokes((1.15, 0.5), 10)), 0.5),
    "cross": Shape("crosses", "sign", _cross, 0.3),
    "equals sign": Shape("equals signs", "sign", _equals_sign, 0.3),
}


def outline(shape: str, centre: tuple[float, float], radius: float, turn: float) -> Any:
    """The shape's outline: `centre` and `radius` in pixels, `turn` in -1..1 of what the shape allows."""
    cos, sin = float(np.cos(turn * SHAPES[shape].turn)), float(np.sin(turn * SHAPES[shape].turn))
    matrix = [radius * cos, -radius * sin, radius * sin, radius * cos, *centre]
    return affine_transform(SHAPES[shape].draw(), matrix)
