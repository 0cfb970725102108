"""Patch grids of Qwen's vision towers and how much of each patch a mask covers.

A *merged patch* is `factor` × `factor` pixels of the resized picture and one language-model token. Patch (i, j) of an h × w
picture on an H × W grid is the rectangle [j·w/W, (j+1)·w/W) × [i·h/H, (i+1)·h/H) of the original picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from stamp_data.rle import many_runs
from stamp_schemas import RLE, Grid, Settings, UsageFault
from stamp_schemas.manifest import FACTORS, PATCH
from stamp_schemas.record import FULL, IGNORE

MAX_ASPECT = 200  # they refuse pictures that are longer than this
MOST_TOKENS = 16_384  # merged patches per picture: Qwen's own limit

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.floating]


def patch_grid(height: int, width: int, min_tokens: int = 1024, max_tokens: int = 1280, factor: int = PATCH) -> Grid:
    """Grid of merged patches that Qwen's resize rule gives a picture of `height` × `width` pixels.

    Sides are rounded to multiples of `factor` (half to even); a picture outside the token bounds is scaled, towards zero when
    it shrinks and away from it when it grows. Very long pictures may exceed `max_tokens` a little, as the rule has it.
    Raises ValueError for an aspect ratio over 200.

    >>> patch_grid(480, 640)
    Grid(height=28, width=37)
    >>> patch_grid(480, 640, min_tokens=4, max_tokens=48)
    Grid(height=6, width=8)
    """
    if max(height, width) / min(height, width) > MAX_ASPECT:
        raise ValueError(f"{width}×{height}: longer than {MAX_ASPECT}:1")
    high, wide = round(height / factor) * factor, round(width / factor) * factor
    area = factor * factor
    if high * wide > max_tokens * area:
        shrink = math.sqrt((height * width) / (max_tokens * area))
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < min_tokens * area:
        grow = math.sqrt(min_tokens * area / (height * width))
        high = math.ceil(height * grow / factor) * factor
        wide = math.ceil(width * grow / factor) * factor
    return Grid(high // factor, wide // factor)


def check_sizes(min_tokens: int, max_tokens: int, factor: int) -> None:
    """UsageFault unless pictures can be cut into from `min_tokens` to `max_tokens` merged patches of `factor` pixels."""
    if not 1 <= min_tokens <= max_tokens <= MOST_TOKENS:
        raise UsageFault(
            f"{min_tokens} to {max_tokens} merged patches", f"the fewest first, and at most {MOST_TOKENS:,}"
        )
    if factor not in FACTORS:
        raise UsageFault(f"merged patches of {factor} pixels", f"known: {', '.join(map(str, FACTORS))}")


def grid_of(settings: Settings, height: int, width: int) -> Grid:
    """`patch_grid` of a picture in a set that was built with these settings."""
    return patch_grid(height, width, settings.min_tokens, settings.max_tokens, settings.pixels_per_patch)


@lru_cache(maxsize=256)
def _overlap(pixels: int, patches: int, dtype: str) -> Float:
    """[patches, pixels]: length shared by patch and pixel along one axis, in units of 1/patches pixel: integers."""
    patch = np.arange(patches)[:, None] * pixels
    pixel = np.arange(pixels)[None, :] * patches
    shared = np.minimum(patch + pixels, pixel + patches) - np.maximum(patch, pixel)
    return np.ascontiguousarray(np.maximum(shared, 0), dtype=dtype)


def covered_units(mask: UInt8, grid: Grid) -> Float:
    """Exact covered area of every patch, [grid.height, grid.width], in units of 1/(H·W) pixel: whole numbers.

    mask: [height, width], 0 or 1. One whole patch holds height·width units. Sums stay below the mantissa of the float
    type in use, so the matrix products are exact.
    """
    height, width = mask.shape
    dtype = "float32" if height * width < 2**24 else "float64"
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return np.zeros((grid.height, grid.width), dtype)
    columns = np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    down = _overlap(height, grid.height, dtype)[:, top:bottom]
    across = _overlap(width, grid.width, dtype)[:, left:right]
    inside = mask[top:bottom, left:right].astype(dtype)
    product: Float = down @ inside @ across.T
    return product


@lru_cache(maxsize=64)
def _overlap_sums(pixels: int, patches: int, dtype: str) -> tuple[Float, Float]:
    """`_overlap` laid out for gathering: [pixels, patches] of each pixel, [pixels + 1, patches] of all pixels before."""
    overlap = np.ascontiguousarray(_overlap(pixels, patches, dtype).T)
    return overlap, np.concatenate([np.zeros((1, patches), dtype), overlap.cumsum(axis=0)])


def run_units(masks: Sequence[RLE], grid: Grid) -> Float:
    """`covered_units` of run-length masks of one picture, [masks, grid.height, grid.width], without ever drawing them.

    Cost goes with the number of runs, not of pixels. A run within one column covers, of each patch, (rows it shares) ×
    (width that the column shares). A run over several columns covers what the column-major scan covers up to its end less
    what it covers up to its start: that of whole columns, and of parts of the first and the last.
    """
    height, width = masks[0].size
    edges = [np.add.accumulate(lengths) for lengths in many_runs([mask.counts for mask in masks])]
    start = np.concatenate([edge[:-1:2] for edge in edges])
    end = np.concatenate([edge[1::2] for edge in edges])
    column, last_column = start // height, (end - 1) // height
    top, bottom = start - column * height, end - last_column * height
    crossing = np.flatnonzero(last_column != column)
    dtype = "float32" if height * width < 2**22 else "float64"  # the mantissa, less two bits: sums reach four patches
    across, columns_before = _overlap_sums(width, grid.width, dtype)
    _, above = _overlap_sums(height, grid.height, dtype)
    units = np.empty((len(masks), grid.height, grid.width), dtype)
    stop = 0
    for mask_units, edge in zip(units, edges, strict=True):
        begin, stop = stop, stop + edge.size // 2
        run = slice(begin, stop)
        rows = above.take(bottom[run], 0)
        rows -= above.take(top[run], 0)
        np.matmul(rows.T, across.take(column[run], 0), out=mask_units)
        if crossing.size:
            some = crossing[(crossing >= begin) & (crossing < stop)]
            first, last = column[some], last_column[some]
            mask_units += above[bottom[some]].T @ (across[last] - across[first])
            mask_units += height * (columns_before[last] - columns_before[first]).sum(axis=0)
    return units


def coverage(mask: UInt8, grid: Grid, ignore: UInt8 | None = None) -> UInt8:
    """Patch labels: round(254 · covered fraction) of every patch, 255 where most of the patch is to be ignored.

    mask, ignore: [height, width], 0 or 1. Returns uint8 [grid.height, grid.width]. Ignored pixels count neither for nor
    against: the fraction is of the patch's other pixels. Halves round to even.

    >>> mask = np.zeros((4, 4), np.uint8)
    >>> mask[:, :3] = 1
    >>> coverage(mask, Grid(2, 2))
    array([[254, 127],
           [254, 127]], dtype=uint8)
    """
    ignored = None if ignore is None or not ignore.any() else covered_units(ignore, grid)
    return _labels(covered_units(mask, grid), ignored, mask.size)


def rle_coverage(mask: RLE, grid: Grid, ignore: RLE | None = None) -> UInt8:
    """`coverage` of run-length masks."""
    labels: UInt8 = rle_coverages([mask], grid, [ignore])[0]
    return labels


def rle_coverages(masks: Sequence[RLE], grid: Grid, ignores: Sequence[RLE | None]) -> UInt8:
    """`rle_coverage` of the masks of one picture, [masks, grid.height, grid.width]. ignores: one for each of them."""
    height, width = masks[0].size
    units = run_units(masks, grid)
    labels = _labels(units, None, height * width)
    for place, ignore in enumerate(ignores):
        if ignore:
            labels[place] = _labels(units[place], run_units([ignore], grid)[0], height * width)
    return labels


def foreground(labels: UInt8 | None) -> float:
    """Covered fraction of the patches that count, averaged over the targets of labels [targets, h, w]; 0 without targets."""
    if labels is None:
        return 0.0
    patches = labels.reshape(len(labels), -1)
    ignored = (patches == IGNORE).sum(axis=1)
    covered = patches.sum(axis=1) - IGNORE * ignored
    return float((covered / np.maximum((patches.shape[1] - ignored) * FULL, 1)).mean())


def _labels(units: Float, ignored: Float | None, whole: int) -> UInt8:
    """Labels from covered and ignored units; `whole`: units of one patch."""
    units = units.astype(np.float64)
    if ignored is None:
        return np.rint(FULL * units / whole).astype(np.uint8)
    ignored = ignored.astype(np.float64)
    skipped = 2 * ignored > whole
    valid = np.where(skipped, whole, whole - ignored)
    return np.where(skipped, IGNORE, np.rint(FULL * units / valid)).astype(np.uint8)
