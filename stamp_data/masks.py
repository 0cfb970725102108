"""From raw regions (polygons, RLE, ignore areas) to the one mask of a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from stamp_data import rle as rles
from stamp_data.numbers import real, whole
from stamp_schemas import RLE, Region
from stamp_schemas.annotation import Where

MIN_POINTS = 3
SLACK = 2.0  # pixels by which annotators' polygons leave the frame without its being worth a note
CLIPPED = "polygon-clipped"  # the one note that loses nothing
MAX_VALUES = 1_000_000  # coordinates in one region
MAX_RLES = 1_000  # in one region
DEGENERATE = "degenerate-polygon"


Note = tuple[Where, str, str]
"""(where, reason, detail) of a part that was left out or cut."""


class RawRLE(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


Part = list[float] | RawRLE

_SEGMENTATION = msgspec.json.Decoder(list[Part] | RawRLE)
_ANYTHING = msgspec.json.Decoder(object)


class RegionFault(ValueError):
    """A region that cannot be used. `reason` is the stable code of the reject row, `where` the region's."""

    def __init__(self, reason: str, detail: str, where: Where = ("", "")) -> None:
        super().__init__(detail)
        self.reason = reason
        self.where = where


@dataclass
class Painted:
    """A target's mask, its ignore mask (None if nothing is ignored) and what had to be left out."""

    mask: RLE
    ignore: RLE | None
    notes: list[Note] = field(default_factory=list)


def paint(regions: list[Region], height: int, width: int) -> Painted:
    """The mask of a target on a picture of height × width pixels.

    Regions are joined; where some are to be ignored, all are painted in order of falling area, later over earlier, as
    ReasonSeg's published evaluation does. Raises RegionFault, which names the region, if one is unusable or lacks a part.
    """
    notes: list[Note] = []
    shapes = [(region.role, _region_mask(region, height, width, notes)) for region in regions]
    if not shapes:
        return Painted(rles.empty(height, width), None, notes)
    if all(role == "target" for role, _ in shapes):
        return Painted(rles.union([shape for _, shape in shapes]), None, notes)
    canvas = np.zeros((height, width), np.uint8)
    for role, shape in sorted(shapes, key=lambda item: -rles.area(item[1])):
        canvas[rles.decode(shape) != 0] = 2 if role == "ignore" else 1
    ignored = (canvas == 2).astype(np.uint8)
    return Painted(rles.encode((canvas == 1).astype(np.uint8)), rles.encode(ignored) if ignored.any() else None, notes)


def _region_mask(region: Region, height: int, width: int, notes: list[Note]) -> RLE:
    """The union of a region's parts. What covers nothing is left out with a note; any other fault is the region's."""
    polygons, painted = [], []
    try:
        for part in _parts(region.segmentation):
            if isinstance(part, RawRLE):
                painted.append(_checked(part, height, width))
                continue
            note = _polygon_note(part, height, width)
            if note is not None:
                notes.append((region.where, *note))
            if note is None or note[0] == CLIPPED:
                polygons.append(part)
    except RegionFault as fault:
        raise RegionFault(fault.reason, str(fault), region.where) from None
    if not polygons and not painted:
        raise RegionFault(*notes[-1][1:], region.where)
    if polygons:
        painted += map(rles.from_coco, coco_mask.frPyObjects(polygons, height, width))
    return rles.union(painted)


def _checked(part: RawRLE, height: int, width: int) -> RLE:
    try:
        return rles.checked(height, width, part.size, part.counts)
    except (ValueError, OverflowError) as fault:
        raise RegionFault("bad-rle", str(fault)) from None


def _parts(segmentation: msgspec.Raw) -> list[Part]:
    """What a segmentation is the union of; RegionFault if that is nothing, or too much."""
    parts = _decode(segmentation)
    if not parts:
        raise RegionFault("empty-segmentation", "no polygon at all")
    if memoryview(segmentation).nbytes > MAX_RLES:  # each number and each RLE takes more than a byte
        if sum(len(part) for part in parts if isinstance(part, list)) > MAX_VALUES:
            raise RegionFault("bad-polygon", f"polygon of more than {MAX_VALUES:,} numbers")
        if sum(isinstance(part, RawRLE) for part in parts) > MAX_RLES:
            raise RegionFault("bad-rle", f"more than {MAX_RLES:,} RLEs in one segmentation")
    return parts


def _decode(segmentation: msgspec.Raw) -> list[Part]:
    """The parts of a segmentation: polygons, an RLE or a list of them, as RefCLEF has it, or the numbers of one polygon."""
    try:
        shape: list[Part] | RawRLE = _SEGMENTATION.decode(segmentation)
    except msgspec.ValidationError as fault:
        try:
            shape = _loosely(_ANYTHING.decode(segmentation))
        except (ValueError, KeyError, TypeError):
            raise RegionFault("bad-segmentation", f"neither polygons nor RLE: {fault}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise RegionFault("bad-segmentation", f"not JSON: {fault}") from None
    return shape if isinstance(shape, list) else [shape]


def _loosely(value: object) -> list[Part]:
    """Parts whose numbers are written otherwise; ValueError, KeyError or TypeError if they are not parts at all."""
    if isinstance(value, dict):
        return [_loose_part(value)]
    if not isinstance(value, list):
        raise TypeError("neither a list nor an object")
    if value and not any(isinstance(part, list | dict) for part in value):
        return [_loose_part(value)]
    return [_loose_part(part) for part in value]


def _loose_part(value: object) -> Part:
    if isinstance(value, dict):
        size, counts = value["size"], value["counts"]
        height, width = map(whole, size)
        return RawRLE((height, width), counts if isinstance(counts, str) else list(map(whole, counts)))
    if not isinstance(value, list):
        raise TypeError("neither a list nor an object")
    return [math.nan if one is None else real(one) for one in value]


def _polygon_note(polygon: list[float], height: int, width: int) -> tuple[str, str] | None:
    """(reason, detail) of a polygon that covers nothing or is cut off (`CLIPPED`); RegionFault if nobody can say what it is."""
    if len(polygon) < 2 * MIN_POINTS:
        return DEGENERATE, f"{len(polygon)} coordinates; a polygon needs 3 points or more"
    if len(polygon) % 2:
        raise RegionFault(DEGENERATE, f"{len(polygon)} coordinates: one of a pair is missing")
    if not all(map(math.isfinite, polygon)):
        raise RegionFault("polygon-not-finite", "a coordinate is not a number")
    xs, ys = polygon[::2], polygon[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    if left < -width or right > 2 * width or top < -height or bottom > 2 * height:
        box = f"({left:g}, {top:g})–({right:g}, {bottom:g})"
        raise RegionFault("polygon-out-of-frame", f"polygon reaches {box}, the picture is {width}×{height}")
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return "polygon-out-of-frame", f"polygon lies wholly outside the {width}×{height} picture"
    beyond = max(-left, -top, right - width, bottom - height)
    if beyond > SLACK:
        return CLIPPED, f"{beyond:.1f} pixels outside the {width}×{height} picture were cut off"
    return None
