"""From raw regions (polygons, RLE, ignore areas) to the one mask of a target."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from stamp_data import rle as rles
from stamp_schemas import RLE, Region

MIN_POINTS = 3
SLACK = 2.0  # pixels by which annotators' polygons leave the frame without its being worth a note
CLIPPED = "polygon-clipped"  # the one note that loses nothing
MAX_VALUES = 1_000_000  # coordinates in one region


class RawRLE(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


_SEGMENTATION = msgspec.json.Decoder(list[list[float]] | RawRLE)
_NULLABLE = msgspec.json.Decoder(list[list[float | None]])


class RegionFault(ValueError):
    """A region that cannot be used. `reason` is the stable code of the reject row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass
class Painted:
    """A target's mask, its ignore mask (None if nothing is ignored) and what had to be left out: (where, reason, detail)."""

    mask: RLE
    ignore: RLE | None
    notes: list[tuple[str, str, str]] = field(default_factory=list)


def paint(regions: list[Region], height: int, width: int) -> Painted:
    """The mask of a target on a picture of height × width pixels.

    Regions are joined; where some are to be ignored, all are painted in order of falling area, later over earlier, as
    ReasonSeg's published evaluation does. Raises RegionFault if a region is unusable as a whole.
    """
    notes: list[tuple[str, str, str]] = []
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


def _region_mask(region: Region, height: int, width: int, notes: list[tuple[str, str, str]]) -> RLE:
    shape = _decode(region.segmentation)
    if isinstance(shape, RawRLE):
        try:
            return rles.checked(height, width, shape.size, shape.counts)
        except (ValueError, OverflowError) as fault:
            raise RegionFault("bad-rle", str(fault)) from None
    if sum(map(len, shape)) > MAX_VALUES:
        raise RegionFault("bad-polygon", f"polygon of more than {MAX_VALUES:,} numbers")
    polygons = []
    for polygon in shape:
        note = _polygon_note(polygon, height, width)
        if note is not None:
            notes.append((region.where, *note))
        if note is None or note[0] == CLIPPED:
            polygons.append(polygon)
    if not polygons:
        reason, detail = (notes[-1][1], notes[-1][2]) if shape else ("empty-segmentation", "no polygon at all")
        raise RegionFault(reason, detail)
    return rles.union([rles.from_coco(part) for part in coco_mask.frPyObjects(polygons, height, width)])


def _decode(segmentation: msgspec.Raw) -> list[list[float]] | RawRLE:
    try:
        shape: list[list[float]] | RawRLE = _SEGMENTATION.decode(segmentation)
        return shape
    except msgspec.ValidationError as fault:
        try:
            _NULLABLE.decode(segmentation)
        except msgspec.ValidationError:
            raise RegionFault("bad-segmentation", f"neither polygons nor RLE: {fault}") from None
        raise RegionFault("polygon-not-finite", "a coordinate is not a number") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise RegionFault("bad-segmentation", f"not JSON: {fault}") from None


def _polygon_note(polygon: list[float], height: int, width: int) -> tuple[str, str] | None:
    """(reason, detail) why a polygon cannot be rasterised, or only in part (`CLIPPED`); None if all is well.

    pycocotools takes four numbers for a box and allocates by coordinate, so both are kept from it. Parts outside the
    frame are cut off by its rasteriser; polygons that lie a whole frame away are taken for damage.
    """
    if len(polygon) % 2 or len(polygon) < 2 * MIN_POINTS:
        return "degenerate-polygon", f"{len(polygon)} coordinates; a polygon needs 3 points or more"
    if not all(map(math.isfinite, polygon)):
        return "polygon-not-finite", "a coordinate is not a number"
    xs, ys = polygon[::2], polygon[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    if left < -width or right > 2 * width or top < -height or bottom > 2 * height:
        box = f"({left:g}, {top:g})–({right:g}, {bottom:g})"
        return "polygon-out-of-frame", f"polygon reaches {box}, the picture is {width}×{height}"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return "polygon-out-of-frame", f"polygon lies wholly outside the {width}×{height} picture"
    beyond = max(-left, -top, right - width, bottom - height)
    if beyond > SLACK:
        return CLIPPED, f"{beyond:.1f} pixels outside the {width}×{height} picture were cut off"
    return None
