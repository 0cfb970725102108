"""The grid of a mask that becomes text: the whole picture squeezed to a square, whatever its shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stamp_data.grid import rle_coverage
from stamp_data.rle import decode
from stamp_schemas import RLE, Grid
from stamp_schemas.record import FULL


def squeeze(mask: RLE, side: int, sampling: str) -> NDArray[np.uint8]:
    """A mask as uint8 [side, side], 0 or 1: what lies at the cells' centres (`nearest`, as published), or what covers more than
    half of them (`coverage`). Things thinner than a cell may vanish in both."""
    if sampling == "coverage":
        return (rle_coverage(mask, Grid(side, side)) > FULL // 2).astype(np.uint8)
    pixels = decode(mask)
    rows, columns = ((2 * np.arange(side) + 1) * size // (2 * side) for size in pixels.shape)
    return np.ascontiguousarray(pixels[rows][:, columns], np.uint8)
