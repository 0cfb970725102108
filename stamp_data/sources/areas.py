"""Areas of labelme shapes as COCO segmentations."""

from __future__ import annotations

import base64
import math

import msgspec
import numpy as np

from stamp_data import rle
from stamp_data.picture import PictureFault, opening
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats import outlines
from stamp_data.sources.formats.painted import BASE64_LIMIT

Points = list[tuple[float, float]]

PIXEL_LIMIT = 200_000_000  # of a picture whose mask is painted


def polygon(points: Points) -> msgspec.Raw:
    """COCO polygon through the points, however few."""
    return outlines.polygons([points])


def rectangle(points: Points) -> msgspec.Raw:
    """Polygon of the upright rectangle with two opposite corners, or through four corners."""
    if len(points) == 4:
        return polygon(points)
    (x0, y0), (x1, y1) = _pair(points, "rectangle")
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def circle(points: Points) -> msgspec.Raw:
    """Polygon of the circle with a centre and a point on its rim."""
    (x, y), (rim_x, rim_y) = _pair(points, "circle")
    radius = math.hypot(rim_x - x, rim_y - y)
    if not math.isfinite(radius):
        raise RecordFault("bad-shape", "a circle without end")
    return outlines.rounded(x, y, radius, radius)


def mask(points: Points, encoded: str | None, height: int | None, width: int | None) -> msgspec.Raw:
    """RLE of a mask that is embedded as a base64 PNG, whose upper left pixel lies at the first point."""
    if height is None or width is None:
        raise RecordFault("bad-shape", "a mask, and the file does not say the size of the picture that it lies in")
    if not height or not width or height < 0 or width < 0 or height * width > PIXEL_LIMIT:
        raise RecordFault("bad-shape", f"a mask in a picture of {width}×{height} pixels")
    (left, top), _ = _pair(points, "mask")
    if not encoded or len(encoded) > BASE64_LIMIT:
        raise RecordFault("bad-shape", f"the mask has {len(encoded or ''):,} characters of base64")
    if not (0 <= left < width and 0 <= top < height):
        raise RecordFault("bad-shape", "the mask lies outside of the picture")
    painted = _png(encoded, height, width)
    row, column = round(top), round(left)
    full = np.zeros((height, width), np.uint8, order="F")
    full[row : row + painted.shape[0], column : column + painted.shape[1]] = painted[: height - row, : width - column]
    return msgspec.Raw(msgspec.json.encode(rle.encode(full)))


def _png(encoded: str, height: int, width: int) -> rle.UInt8:
    """The picture as 0 and 1; never decoded if it claims to be larger than height × width."""
    try:
        with opening(base64.b64decode(encoded, validate=False), "", formats=("PNG",)) as image:
            across, down = image.size
            fits = across <= width + 1 and down <= height + 1
            painted = (np.asarray(image.convert("L")) > 0).astype(np.uint8) if fits else None
    except (ValueError, PictureFault):  # ValueError: no base64
        raise RecordFault("bad-shape", "the mask is no readable PNG") from None
    if painted is None:
        raise RecordFault("bad-shape", f"a mask of {across}×{down} in a smaller picture")
    return painted


def _pair(points: Points, kind: str) -> Points:
    if len(points) != 2:
        raise RecordFault("bad-shape", f"a {kind} has two points, not {len(points)}")
    return points
