"""Patch grids and coverage: against the published numbers, and against counting in the open."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stamp_data import rle as rles
from stamp_data.grid import (
    UInt8,
    coverage,
    covered_units,
    patch_grid,
    rle_coverage,
    rle_coverages,
    run_units,
)
from stamp_schemas import RLE, Grid
from stamp_schemas.manifest import FACTORS
from stamp_schemas.record import FULL, IGNORE

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
GRIDS = json.loads((GOLDEN / "grids.json").read_text(encoding="utf-8"))
LABELS = json.loads((GOLDEN / "labels.json").read_text(encoding="utf-8"))["cases"]

sides = st.integers(1, 24)
grids = st.builds(Grid, st.integers(1, 9), st.integers(1, 9))


def pixels(shape: tuple[int, int]) -> st.SearchStrategy[UInt8]:
    return hnp.arrays(np.uint8, shape, elements=st.integers(0, 1))


# --- the resize rule -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GRIDS, ids=lambda case: f"{case['size'][0]}x{case['size'][1]}-{case['bounds']}")
def test_golden_grids(case: dict[str, list[int]]) -> None:
    height, width = case["size"]
    if "error" in case:
        with pytest.raises(ValueError, match="200:1"):
            patch_grid(height, width, case["min_tokens"], case["max_tokens"])  # type: ignore[arg-type]
    else:
        grid = patch_grid(height, width, case["min_tokens"], case["max_tokens"])  # type: ignore[arg-type]
        assert [grid.height, grid.width] == case["grid"] and grid.tokens == case["tokens"]


@pytest.fixture(scope="module")
def published_rule() -> Callable[..., tuple[int, int]]:
    """`smart_resize` out of transformers' source: importing its module takes seconds, and torch."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        pytest.skip("transformers is not installed")
    folder = Path(package.origin).parent / "models" / "qwen2_vl"
    for path in sorted(folder.glob("image_processing*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == "smart_resize":
                names: dict[str, object] = {"math": math}
                exec(compile(ast.Module([node], []), str(path), "exec"), names)
                return names["smart_resize"]  # type: ignore[return-value]
    pytest.skip("this transformers keeps smart_resize elsewhere")


bounds = st.tuples(st.integers(1, 1500), st.integers(0, 600)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def test_the_published_rule_for_any_size(published_rule: Callable[..., tuple[int, int]]) -> None:
    @settings(deadline=None, max_examples=500)
    @given(st.integers(1, 6000), st.integers(1, 6000), bounds, st.sampled_from(FACTORS))
    def agree(height: int, width: int, tokens: tuple[int, int], factor: int) -> None:
        assume(max(height, width) <= 200 * min(height, width))
        area = factor * factor
        resized = published_rule(height, width, factor, tokens[0] * area, tokens[1] * area)
        grid = patch_grid(height, width, *tokens, factor)
        assert (grid.height * factor, grid.width * factor) == tuple(resized)

    agree()


# --- coverage --------------------------------------------------------------------------------------------------------


def count_parts(mask: UInt8, grid: Grid) -> np.ndarray:
    """Covered parts of each patch, with every pixel cut into H × W parts so that patches hold whole parts: int [H, W]."""
    height, width = mask.shape
    fine = np.kron(mask, np.ones((grid.height, grid.width), np.uint8)).astype(np.int64)
    return fine.reshape(grid.height, height, grid.width, width).sum(axis=(1, 3))


def expected_labels(mask: UInt8, grid: Grid, ignore: UInt8) -> np.ndarray:
    """Labels in exact fractions: 255 where more than half of a patch is ignored, else the share of what is left."""
    covered, skipped, whole = count_parts(mask, grid), count_parts(ignore, grid), mask.size
    labels = np.empty((grid.height, grid.width), np.uint8)
    for place in np.ndindex(*labels.shape):
        away = int(skipped[place])
        share = Fraction(FULL * int(covered[place]), whole - away) if away < whole else Fraction(0)
        labels[place] = IGNORE if 2 * away > whole else round(share)
    return labels


@settings(max_examples=200, deadline=None)
@given(st.data(), sides, sides, grids)
def test_coverage_is_the_count_at_high_resolution(data: st.DataObject, height: int, width: int, grid: Grid) -> None:
    mask = data.draw(pixels((height, width)))
    assert np.array_equal(covered_units(mask, grid), count_parts(mask, grid))
    assert np.array_equal(run_units([rles.encode(mask)], grid)[0], count_parts(mask, grid))


@settings(max_examples=200, deadline=None)
@given(st.data(), sides, sides, grids)
def test_labels_with_ignored_pixels(data: st.DataObject, height: int, width: int, grid: Grid) -> None:
    ignore = data.draw(pixels((height, width)))
    mask = data.draw(pixels((height, width))) & ~ignore & 1
    expected = expected_labels(mask, grid, ignore)
    assert np.array_equal(coverage(mask, grid, ignore), expected)
    assert np.array_equal(rle_coverage(rles.encode(mask), grid, rles.encode(ignore)), expected)


@settings(max_examples=200, deadline=None)
@given(st.data(), sides, sides, grids)
def test_masks_of_one_picture_together(data: st.DataObject, height: int, width: int, grid: Grid) -> None:
    """Each as if it were alone, empty and full ones among them, and only its own ignored pixels count."""
    drawn = [
        (data.draw(pixels((height, width))), data.draw(st.none() | pixels((height, width))))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    pairs = [(mask if ignore is None else mask & ~ignore & 1, ignore) for mask, ignore in drawn]
    masks = [rles.encode(mask) for mask, _ in pairs]
    ignores = [None if ignore is None else rles.encode(ignore) for _, ignore in pairs]
    together = rle_coverages(masks, grid, ignores)
    assert np.array_equal(together, [coverage(mask, grid, ignore) for mask, ignore in pairs])


@settings(max_examples=100, deadline=None)
@given(st.data(), sides, sides, grids)
def test_disjoint_masks_add_up_and_nothing_is_lost(data: st.DataObject, height: int, width: int, grid: Grid) -> None:
    one = data.draw(pixels((height, width)))
    other = data.draw(pixels((height, width))) & ~one & 1
    together = covered_units(one | other, grid)
    assert np.array_equal(covered_units(one, grid) + covered_units(other, grid), together)
    assert together.sum() == int((one | other).sum()) * grid.tokens


@pytest.mark.parametrize("case", LABELS, ids=lambda case: case["name"])
def test_golden_coverage(case: dict[str, str]) -> None:
    with np.load(GOLDEN / "labels.npz") as golden:
        height, width = golden[f"{case['name']}/shape"].tolist()
        grid = Grid(*golden[f"{case['name']}/grid"].tolist())
        packed, share = golden[f"{case['name']}/mask_packed"], golden[f"{case['name']}/coverage"]
    mask = np.unpackbits(packed)[: height * width].reshape(height, width)
    assert patch_grid(height, width) == grid
    assert np.allclose(covered_units(mask, grid) / mask.size, share, atol=1e-9)
    labels = coverage(mask, grid)
    assert np.abs(labels - FULL * share).max() <= 0.5 + 1e-6
    assert np.array_equal(rle_coverage(rles.encode(mask), grid), labels)


def test_all_and_nothing() -> None:
    grid = patch_grid(427, 640)
    everything = np.ones((427, 640), np.uint8)
    assert (coverage(everything, grid) == FULL).all()
    assert (coverage(np.zeros_like(everything), grid) == 0).all()
    assert (coverage(np.zeros_like(everything), grid, everything) == IGNORE).all()
    assert (rle_coverage(rles.empty(427, 640), grid) == 0).all()


@pytest.mark.parametrize("patches", [1, 2])
@pytest.mark.parametrize("filled", [0.001, 0.5, 0.999])
def test_sums_stay_exact_up_to_the_last_picture_of_single_precision(patches: int, filled: float) -> None:
    """Few patches, hence large sums; sides that the patches divide, so that pixels can simply be counted."""
    height, width = 2046, 2048
    mask = (np.random.default_rng(1).random((height, width)) < filled).astype(np.uint8)
    counted = mask.reshape(patches, height // patches, patches, width // patches).sum((1, 3), dtype=np.int64)
    assert np.array_equal(run_units([rles.encode(mask)], Grid(patches, patches))[0], counted * patches**2)


@pytest.mark.parametrize("orientation", [(9000, 5000), (5000, 9000)])
def test_large_pictures_stay_exact(orientation: tuple[int, int]) -> None:
    """A rectangle with edges of its own in every direction, on pictures whose sums do not fit float32."""
    height, width = orientation
    grid = patch_grid(height, width)
    top, bottom, left, right = 7, height - 13, 1001, width - 3
    counts = [height * left + top]
    for _ in range(left, right):
        counts += [bottom - top, height - bottom + top]
    counts[-1] += height * (width - right) - top
    mask = rles.checked(height, width, (height, width), counts)
    rows = [
        min((i + 1) * height, bottom * grid.height) - max(i * height, top * grid.height) for i in range(grid.height)
    ]
    columns = [min((j + 1) * width, right * grid.width) - max(j * width, left * grid.width) for j in range(grid.width)]
    expected = np.outer(np.maximum(rows, 0), np.maximum(columns, 0))
    assert np.array_equal(run_units([mask], grid)[0], expected)
    assert np.array_equal(covered_units(rles.decode(mask), grid), expected)


def test_one_pixel_off_the_edges() -> None:
    """The last position of the scan, and runs that end exactly at the foot of a column."""
    grid = Grid(3, 3)
    for counts in ([24, 1], [20, 5], [0, 25], [5, 5, 5, 10], [4, 2, 4, 15]):
        mask: RLE = rles.checked(5, 5, (5, 5), counts)
        assert np.array_equal(run_units([mask], grid)[0], count_parts(rles.decode(mask), grid))
