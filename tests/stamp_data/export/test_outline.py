"""Polygons of a mask are the mask: pycocotools gives back every pixel, holes included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from stamp_data import rle as rles
from stamp_data.export.outline import polygons
from stamp_data.rle import UInt8

masks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 16), st.integers(1, 16)), elements=st.integers(0, 1))


def drawn(rings: list[list[float]], height: int, width: int) -> UInt8:
    if not rings:
        return np.zeros((height, width), np.uint8)
    parts = coco_mask.frPyObjects(rings, height, width)
    return np.asarray(coco_mask.decode(coco_mask.merge(parts)), np.uint8)


@settings(deadline=None, max_examples=300)
@given(masks)
def test_every_pixel_comes_back(mask: UInt8) -> None:
    rings = polygons(rles.encode(mask))
    assert np.array_equal(drawn(rings, *mask.shape), mask)
    assert all(len(ring) >= 8 and len(ring) % 2 == 0 for ring in rings)


def test_holes_in_holes() -> None:
    mask = np.zeros((40, 50), np.uint8)
    for inset in range(0, 18, 3):
        mask[inset : 40 - inset, inset : 50 - inset] = (inset // 3 + 1) % 2
    rings = polygons(rles.encode(mask))
    assert np.array_equal(drawn(rings, 40, 50), mask)


def test_a_rectangle_is_four_corners() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[2:5, 3:8] = 1
    (ring,) = polygons(rles.encode(mask))
    assert sorted(zip(ring[::2], ring[1::2], strict=True)) == [(3, 2), (3, 5), (8, 2), (8, 5)]


@pytest.mark.parametrize("value", [0, 1])
def test_all_or_nothing(value: int) -> None:
    mask = np.full((7, 5), value, np.uint8)
    assert np.array_equal(drawn(polygons(rles.encode(mask)), 7, 5), mask)
