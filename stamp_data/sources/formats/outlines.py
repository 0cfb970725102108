"""Outlines that tools write, as COCO polygons. Coordinates are pixels, y downward; angles are degrees, clockwise as seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from stamp_data.sources.faults import RecordFault

CORNERS = 72  # of an ellipse: its area is met to 0.13 %
MIN_POINTS = 3
Points = Sequence[tuple[float, float]]


def polygons(outlines: Iterable[Points]) -> msgspec.Raw:
    """The segmentation of one thing of one or several parts."""
    return msgspec.Raw(msgspec.json.encode([[value for point in points for value in point] for points in outlines]))


def polygon(points: Points) -> msgspec.Raw:
    """RecordFault `bad-shape` for fewer than three points."""
    if len(points) < MIN_POINTS:
        raise RecordFault("bad-shape", f"a polygon of {len(points)} points")
    return polygons([points])


def box(x: float, y: float, width: float, height: float, angle: float = 0.0) -> msgspec.Raw:
    """A rectangle, turned about its upper left corner, as Label Studio turns it."""
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    return polygons([_moved(corners, x, y, angle)])


def centred_box(x0: float, y0: float, x1: float, y1: float, angle: float = 0.0) -> msgspec.Raw:
    """A rectangle between two corners, turned about its centre, as CVAT turns it."""
    across, down = (x1 - x0) / 2, (y1 - y0) / 2
    corners = [(-across, -down), (across, -down), (across, down), (-across, down)]
    return polygons([_moved(corners, x0 + across, y0 + down, angle)])


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> msgspec.Raw:
    """An ellipse about (x, y), turned about its centre. RecordFault `bad-shape` if it has no extent or no end."""
    if not (0 < radius_x < math.inf and 0 < radius_y < math.inf):
        raise RecordFault("bad-shape", f"an ellipse with radii {radius_x:g} and {radius_y:g}")
    return rounded(x, y, radius_x, radius_y, angle)


def rounded(x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0) -> msgspec.Raw:
    """`ellipse` of finite radii, which may be 0."""
    turns = [2 * math.pi * corner / CORNERS for corner in range(CORNERS)]
    rim = [(radius_x * math.cos(turn), radius_y * math.sin(turn)) for turn in turns]
    return polygons([[(round(px, 3), round(py, 3)) for px, py in _moved(rim, x, y, angle)]])


def _moved(points: Points, x: float, y: float, angle: float) -> Points:
    """Points turned about the origin, which then lies at (x, y)."""
    if not angle or not math.isfinite(angle):
        return [(x + px, y + py) for px, py in points]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in points]
