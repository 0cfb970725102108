"""Outlines: exact before they are simplified, close after, and shorter than the mask."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from stamp_data.draw.outline import mask_path, rings

SCALE = 8


def painted(outlines: list[Any], height: int, width: int) -> Any:
    """Even-odd fill of outlines, at the centres of pixels."""
    canvas = np.zeros((height * SCALE, width * SCALE), bool)
    for outline in outlines:
        image = Image.new("1", (width * SCALE, height * SCALE))
        ImageDraw.Draw(image).polygon([tuple(point) for point in np.asarray(outline) * SCALE - 0.5], fill=1)
        canvas ^= np.asarray(image)
    return canvas[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def parsed(path: str) -> list[Any]:
    """The points of an `M…l…z` path."""
    outlines = []
    for part in filter(None, path.split("z")):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", part)]
        outlines.append(np.cumsum(np.array(numbers).reshape(-1, 2), axis=0))
    return outlines


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_rings_bound_exactly_the_mask(mask: Any) -> None:
    assert (painted(list(rings(mask)), *mask.shape) == mask).all()


def test_paths_stay_close_and_get_short() -> None:
    image = Image.new("1", (300, 200))
    draw = ImageDraw.Draw(image)
    draw.polygon([(20, 30), (270, 70), (260, 110), (10, 70)], fill=1)
    draw.ellipse((150, 100, 260, 190), fill=1)
    draw.ellipse((180, 130, 220, 160), fill=0)
    draw.rectangle((20, 130, 60, 170), fill=1)
    mask = np.asarray(image).astype(np.uint8)
    path = mask_path(mask)
    again = painted(parsed(path), *mask.shape)
    assert (again & (mask > 0)).sum() / (again | (mask > 0)).sum() > 0.98
    assert len(path) < 500
    assert path.startswith("M")
    assert mask_path(np.zeros((9, 9), np.uint8)) == ""


def test_large_masks_are_traced_smaller_and_scaled_back() -> None:
    mask = np.zeros((1500, 3000), np.uint8)
    mask[300:900, 600:2400] = 1
    (ring,) = parsed(mask_path(mask))
    assert np.abs(ring.min(axis=0) - (600, 300)).max() < 6
    assert np.abs(ring.max(axis=0) - (2400, 900)).max() < 6
