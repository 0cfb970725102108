"""Run-length masks: read as pycocotools reads them, and nothing gets to it that it cannot take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from stamp_data import rle as rles
from stamp_data.rle import UInt8
from stamp_schemas import RLE

masks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1))


def run_lengths(mask: UInt8) -> list[int]:
    """Column-major runs, the first of zeros, counted one pixel after the other."""
    lengths, value = [0], 0
    for pixel in mask.flatten(order="F").tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return lengths


@settings(deadline=None)
@given(masks)
def test_runs_are_those_of_the_mask(mask: UInt8) -> None:
    assert rles.runs(rles.encode(mask).counts).tolist() == run_lengths(mask)


@settings(deadline=None)
@given(st.lists(masks, min_size=1, max_size=4))
def test_runs_of_several_masks_are_those_of_each(several: list[UInt8]) -> None:
    together = rles.many_runs([rles.encode(mask).counts for mask in several])
    assert [lengths.tolist() for lengths in together] == [run_lengths(mask) for mask in several]


@pytest.mark.parametrize("broken", ["", "0P", "0~", "0é", "oooooooo0"])
def test_one_broken_mask_among_several_is_noticed(broken: str) -> None:
    """Also where the next one's characters would make it whole."""
    with pytest.raises(ValueError, match="counts"):
        rles.many_runs(["04", broken, "04"])


@settings(deadline=None)
@given(masks)
def test_there_and_back(mask: UInt8) -> None:
    height, width = mask.shape
    encoded = rles.encode(mask)
    assert np.array_equal(rles.decode(encoded), mask)
    assert rles.checked(height, width, encoded.size, encoded.counts) == encoded
    assert rles.checked(height, width, (height, width), run_lengths(mask)) == encoded


@settings(deadline=None)
@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=30))
def test_runs_of_any_length_as_pycocotools_packs_them(lengths: list[int]) -> None:
    """Numbers of one to four digits, runs of no length and differences of either sign."""
    total = sum(lengths) or 1
    lengths[-1] += total - sum(lengths)
    packed = coco_mask.frPyObjects({"size": [1, total], "counts": lengths}, 1, total)
    assert rles.runs(packed["counts"].decode()).tolist() == lengths
    clean = rles.checked(1, total, (1, total), packed["counts"].decode())
    assert np.array_equal(coco_mask.decode(packed), rles.decode(clean))
    assert all(rles.runs(clean.counts)[1:] > 0)


@settings(deadline=None)
@given(masks)
def test_area_and_box(mask: UInt8) -> None:
    encoded = rles.encode(mask)
    assert rles.area(encoded) == int(mask.sum())
    ys, xs = np.nonzero(mask)
    box = (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) if xs.size else (0, 0, 0, 0)
    assert rles.bbox(encoded) == tuple(map(float, box))


@settings(deadline=None)
@given(st.data(), st.integers(1, 5))
def test_union_is_zero_or_one_however_often_parts_overlap(data: st.DataObject, count: int) -> None:
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    parts = [data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))) for _ in range(count)]
    joined = rles.decode(rles.union([rles.encode(part) for part in parts]))
    assert np.array_equal(joined, np.bitwise_or.reduce(parts))


@settings(deadline=None)
@given(st.data())
def test_iou(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    one, other = (data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))) for _ in range(2))
    whole = int((one | other).sum())
    expected = int((one & other).sum()) / whole if whole else 1.0
    assert rles.iou(rles.encode(one), rles.encode(other)) == pytest.approx(expected)


def test_nothing() -> None:
    assert rles.area(rles.empty(5, 7)) == 0
    assert rles.decode(rles.empty(5, 7)).shape == (5, 7)


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ("", "empty"),
        ("4\n", "characters that no RLE has"),
        ("4é", "characters that no RLE has"),
        ("4p", "characters that no RLE has"),
        ("o", "end within a number"),
        ("ooooooo0", "too large"),
        ("O4", "negative"),
        ("3", "covers 3 pixels"),
        ("5", "longer than the picture"),
        ("0000", "covers 0 pixels"),
        ([5, -1], "negative"),
        ([], "covers 0 pixels"),
        ([4, 4], "covers 8 pixels"),
        ([2**62, 2**62, 2**62, 2**62 + 4], "longer than the picture"),
        ([2**31, 2**31, 2**63 - 2**32, 2**63 - 1, 5], "longer than the picture"),
    ],
)
def test_hostile_counts_are_refused(counts: str | list[int], what: str) -> None:
    """pycocotools would take most of these and read or write past its buffers."""
    with pytest.raises(ValueError, match=what):
        rles.checked(2, 2, (2, 2), counts)


def test_numbers_beyond_64_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        rles.checked(2, 2, (2, 2), [2**70])


@pytest.mark.parametrize("size", [(2, 3), (3, 2), (0, 0), (-2, -2)])
def test_a_size_other_than_the_picture_s_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="the picture has 2×2"):
        rles.checked(2, 2, size, "4")


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(min_codepoint=44, max_codepoint=115), max_size=12), st.integers(1, 6), st.integers(1, 6))
def test_any_counts_are_either_refused_or_fit(counts: str, height: int, width: int) -> None:
    try:
        mask = rles.checked(height, width, (height, width), counts)
    except ValueError:
        return
    assert isinstance(mask, RLE)
    pixels = rles.decode(mask)
    assert pixels.shape == (height, width) and pixels.max() <= 1
