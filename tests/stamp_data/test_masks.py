"""Regions to masks: against geometry done by other means, and against whatever annotation files may hold."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from stamp_data import rle as rles
from stamp_data.masks import RegionFault, paint
from stamp_data.rle import UInt8
from stamp_schemas import Region

HEIGHT, WIDTH = 48, 64


def region(shape: object, role: str = "target") -> Region:
    return Region(msgspec.Raw(json.dumps(shape).encode()), ("instances.json", "annotation 1"), role)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def mask_of(*regions: Region) -> UInt8:
    return rles.decode(paint(list(regions), HEIGHT, WIDTH).mask)


def ignored(*regions: Region) -> UInt8:
    found = paint(list(regions), HEIGHT, WIDTH).ignore
    assert found is not None
    return rles.decode(found)


def star(centre: tuple[float, float], radii: list[float]) -> list[tuple[float, float]]:
    """A simple polygon: one corner per radius, at equal angles around the centre."""
    angles = [2 * math.pi * number / len(radii) for number in range(len(radii))]
    return [(centre[0] + r * math.cos(a), centre[1] + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


stars = st.builds(
    star,
    st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)),
    st.lists(st.floats(4, 40), min_size=3, max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(stars)
def test_polygons_agree_with_point_in_polygon(corners: list[tuple[float, float]]) -> None:
    """Pixel by pixel, except where the pixel's centre lies within one pixel of the outline."""
    shape = Polygon(corners)
    flat = [value for corner in corners for value in corner]
    mask = mask_of(region([flat]))
    xs, ys = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    centres = shapely.points(xs, ys)
    clear = shapely.distance(shape.exterior, centres) > 1.0
    assert np.array_equal(mask[clear] == 1, shapely.contains(shape, centres)[clear])


@settings(max_examples=50, deadline=None)
@given(st.lists(stars, min_size=2, max_size=4))
def test_parts_and_regions_are_joined_not_added(shapes: list[list[tuple[float, float]]]) -> None:
    flats = [[value for corner in corners for value in corner] for corners in shapes]
    alone = [mask_of(region([flat])) for flat in flats]
    expected = np.bitwise_or.reduce(alone)
    assert expected.max() == 1
    assert np.array_equal(mask_of(region(flats)), expected)
    assert np.array_equal(mask_of(*[region([flat]) for flat in flats]), expected)


def test_whole_pixels_of_a_rectangle() -> None:
    mask = mask_of(region([rectangle(3, 5, 13, 9)]))
    assert mask.sum() == 40 and mask[5:9, 3:13].all()


@settings(max_examples=50, deadline=None)
@given(stars)
def test_a_polygon_through_rle_is_the_same_mask(corners: list[tuple[float, float]]) -> None:
    """The mask of a polygon, written as either kind of RLE and painted again."""
    first = paint([region([[value for corner in corners for value in corner]])], HEIGHT, WIDTH).mask
    for counts in (first.counts, rles.runs(first.counts).tolist()):
        again = paint([region({"size": [HEIGHT, WIDTH], "counts": counts})], HEIGHT, WIDTH)
        assert again.mask == first and not again.notes


def test_no_region_is_an_empty_mask_by_intent() -> None:
    painted = paint([], HEIGHT, WIDTH)
    assert rles.area(painted.mask) == 0 and painted.ignore is None and not painted.notes


# --- ignored regions -------------------------------------------------------------------------------------------------

LARGE, SMALL = [rectangle(0, 0, 40, 40)], [rectangle(10, 10, 20, 20)]


def test_a_small_target_is_painted_over_a_large_ignored_region_whatever_their_order() -> None:
    for regions in ([region(LARGE, "ignore"), region(SMALL)], [region(SMALL), region(LARGE, "ignore")]):
        assert np.array_equal(mask_of(*regions), mask_of(region(SMALL)))
        assert ignored(*regions).sum() == 1600 - 100


def test_a_small_ignored_region_is_cut_out_of_a_large_target() -> None:
    regions = [region(SMALL, "ignore"), region(LARGE)]
    assert mask_of(*regions).sum() == 1600 - 100
    assert np.array_equal(ignored(*regions), mask_of(region(SMALL)))


def test_of_equal_areas_the_later_lies_on_top() -> None:
    same = [rectangle(5, 5, 15, 15)]
    assert mask_of(region(same), region(same, "ignore")).sum() == 0
    assert paint([region(same, "ignore"), region(same)], HEIGHT, WIDTH).ignore is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(stars, st.sampled_from(["target", "ignore"])), min_size=2, max_size=5))
def test_painting_order_against_pixel_by_pixel(shapes: list[tuple[list[tuple[float, float]], str]]) -> None:
    """Each pixel belongs to the smallest region over it, the later of equals."""
    regions = [region([[value for corner in corners for value in corner]], role) for corners, role in shapes]
    single = [mask_of(region(json.loads(bytes(one.segmentation)))) for one in regions]
    painted = paint(regions, HEIGHT, WIDTH)
    areas = np.array([mask.sum() for mask in single])
    order = np.lexsort((np.arange(len(single)), -areas))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number in order:
        expected[single[number] == 1] = 1 if regions[number].role == "target" else 2
    assert np.array_equal(rles.decode(painted.mask), expected == 1)
    assert (painted.ignore is None) == (not (expected == 2).any())
    if painted.ignore is not None:
        assert np.array_equal(rles.decode(painted.ignore), expected == 2)


# --- what files hold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "empty-segmentation"),
        ("[[]]", "degenerate-polygon"),
        ("[[1, 2, 3, 4]]", "degenerate-polygon"),
        ("[[1, 2, 3, 4, 5]]", "degenerate-polygon"),
        ("[[1, 2, 3, 4, 5, null]]", "polygon-not-finite"),
        ('[[1, 2, 3, 4, 5, "NaN"]]', "bad-segmentation"),
        ("[[1, 2, 3, 4, 5, 1e999]]", "bad-segmentation"),
        ("[[1, 2, 3, 4, 5, 1e300]]", "polygon-out-of-frame"),
        ("[[-1e9, 0, 1e9, 0, 1e9, 1e9]]", "polygon-out-of-frame"),
        ("[[70, 1, 90, 1, 90, 40]]", "polygon-out-of-frame"),
        ("[[-20, 1, -3, 1, -3, 40]]", "polygon-out-of-frame"),
        ("[[1, 2, 3, 4, 5, 6", "bad-segmentation"),
        ("null", "bad-segmentation"),
        ("7", "bad-segmentation"),
        ('{"counts": "4"}', "bad-segmentation"),
        ('{"size": [48], "counts": "4"}', "bad-segmentation"),
        ('{"size": [48, 64], "counts": [1.5]}', "bad-segmentation"),
        ('{"size": [64, 48], "counts": [3072]}', "bad-rle"),
        ('{"size": [48, 64], "counts": [3073]}', "bad-rle"),
        ('{"size": [48, 64], "counts": [1180591620717411303424]}', "bad-rle"),
        ('{"size": [48, 64], "counts": "4"}', "bad-rle"),
        ('{"size": [48, 64], "counts": ""}', "bad-rle"),
        ('{"size": [48.5, 64], "counts": [3072]}', "bad-segmentation"),
        ('{"size": [true, 64], "counts": [3072]}', "bad-segmentation"),
        ('[{"size": [48, 64], "counts": [3072]}, {"size": [64, 48], "counts": [3072]}]', "bad-rle"),
        ("[[1, 2, 30, 2, 30, 30], [1, 2, 3, 4, 5, null]]", "polygon-not-finite"),
        ("[[1, 2, 30, 2, 30, 30], [1, 2, 3, 4, 5, 6, 7]]", "degenerate-polygon"),
        ("[[1, 2, 30, 2, 30, 30], [1, 2, 3, 4, 500, 600]]", "polygon-out-of-frame"),
        ("[[[1, 2], [30, 2], [30, 30]]]", "bad-segmentation"),
        ('[{"x": 1, "y": 2}]', "bad-segmentation"),
        ('["1 2 30 2 30 30"]', "bad-segmentation"),
    ],
)
def test_unusable_regions_are_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(RegionFault) as caught:
        paint([Region(msgspec.Raw(text.encode()), ("a.json", "1"))], HEIGHT, WIDTH)
    assert caught.value.reason == reason and str(caught.value)


PLAIN_COUNTS = [149, 10, 950, 7, 1956]


def test_a_list_of_rles_is_their_union_whether_compressed_or_not() -> None:
    """As RefCLEF has its masks, which REFER decodes one by one and adds up."""
    one, other = mask_of(region([rectangle(3, 5, 13, 9)])), mask_of(region([rectangle(8, 7, 30, 40)]))
    packed = [{"size": [HEIGHT, WIDTH], "counts": rles.encode(mask).counts} for mask in (one, other)]
    plain = [{"size": [HEIGHT, WIDTH], "counts": rles.runs(rle["counts"]).tolist()} for rle in packed]
    for parts in (packed, plain, [packed[0], plain[1]], [packed[1], rectangle(3, 5, 13, 9)]):
        assert np.array_equal(mask_of(region(parts)), one | other)
    assert np.array_equal(mask_of(region(packed[:1])), one)


@pytest.mark.parametrize(
    "odd",
    [
        {"size": [48.0, 64.0], "counts": PLAIN_COUNTS},
        {"size": ["48", "64"], "counts": PLAIN_COUNTS},
        {"size": [48, 64], "counts": [float(run) for run in PLAIN_COUNTS]},
        [{"size": [48, 64], "counts": [str(run) for run in PLAIN_COUNTS]}],
    ],
)
def test_whole_floats_and_numeric_texts_are_the_numbers(odd: object) -> None:
    assert np.array_equal(mask_of(region(odd)), mask_of(region({"size": [48, 64], "counts": PLAIN_COUNTS})))


def test_the_numbers_of_one_polygon_without_a_list_around_them() -> None:
    """As VIA exports them."""
    flat = rectangle(3, 5, 13, 9)
    for shape in (flat, [str(value) for value in flat], [[str(value) for value in flat]]):
        assert np.array_equal(mask_of(region(shape)), mask_of(region([flat])))


def test_a_fault_names_its_own_region_not_the_first() -> None:
    good, bad = region([rectangle(3, 5, 13, 9)]), Region(msgspec.Raw(b"[]"), ("a.json", "annotation 2"))
    with pytest.raises(RegionFault) as caught:
        paint([good, bad], HEIGHT, WIDTH)
    assert caught.value.where == ("a.json", "annotation 2")


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(RegionFault, match="utf-8"):
        paint([Region(msgspec.Raw(b'{"size": [48, 64], "counts": "\xff"}'), ("a.json", "1"))], HEIGHT, WIDTH)


def test_a_part_that_covers_nothing_is_left_out_with_a_note() -> None:
    painted = paint([region([rectangle(3, 5, 13, 9), [1, 2, 3, 4]])], HEIGHT, WIDTH)
    assert rles.area(painted.mask) == 40
    assert [(where, reason) for where, reason, _ in painted.notes] == [
        (("instances.json", "annotation 1"), "degenerate-polygon")
    ]


@pytest.mark.parametrize(("beyond", "noted"), [(1.5, False), (10, True)])
def test_what_leaves_the_frame_is_cut_off_and_noted_if_it_is_much(beyond: float, noted: bool) -> None:
    painted = paint([region([rectangle(50, 10, WIDTH + beyond, 20)])], HEIGHT, WIDTH)
    assert rles.area(painted.mask) == 14 * 10
    assert [reason for _, reason, _ in painted.notes] == (["polygon-clipped"] if noted else [])


numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.none())
shapes = st.one_of(
    st.lists(st.lists(numbers, max_size=9), max_size=3),
    st.lists(st.lists(st.floats(-200, 200), min_size=6, max_size=8), min_size=1, max_size=2),
    st.fixed_dictionaries(
        {
            "size": st.sampled_from([[HEIGHT, WIDTH], [WIDTH, HEIGHT], [0, 0], []]),
            "counts": st.one_of(st.text(max_size=8), st.lists(st.integers(-9, 4000), max_size=5)),
        }
    ),
    st.recursive(st.one_of(st.none(), st.booleans(), st.text(max_size=3), numbers), st.lists, max_leaves=8),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(shapes, st.sampled_from(["target", "ignore"])), max_size=3))
def test_any_json_is_a_mask_of_the_right_size_or_a_fault(regions: list[tuple[object, str]]) -> None:
    try:
        painted = paint([region(shape, role) for shape, role in regions], HEIGHT, WIDTH)
    except RegionFault:
        return
    assert rles.decode(painted.mask).shape == (HEIGHT, WIDTH)
    if painted.ignore is not None:
        assert not (rles.decode(painted.mask) & rles.decode(painted.ignore)).any()
