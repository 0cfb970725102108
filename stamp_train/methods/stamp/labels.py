"""Patch labels as the published trainer makes them; our own are `stamp_data.grid.coverage`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from stamp_schemas.record import FULL


def sampled_labels(mask: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels of a grid by point sampling, as the published code has them: the mask resized, then cut off to whole numbers.

    The resize is bilinear without antialiasing, so that only the two by two pixels around a patch's centre are read, and
    the cut makes a patch foreground only if all of them are. On a CPU rounding loses a few more, as it did there.

    Args:
        mask: [height, width] of the original picture, 0 or 1.
        grid: rows and columns of merged patches.

    Returns:
        uint8 [rows, columns], 0 or `FULL`.
    """
    picture = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    sampled = F.interpolate(picture, size=grid, mode="bilinear", align_corners=False)[0, 0]
    return (sampled.long().numpy() * FULL).astype(np.uint8)
