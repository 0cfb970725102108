"""Masks on the grid of merged patches, each of which may be cut into side by side cells, and their coverage as labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stamp_schemas import Grid as Shape
from stamp_schemas import Record
from stamp_schemas.record import FULL, IGNORE
from stamp_train.sequence.document import Grid
from stamp_train.sequence.errors import StampModelError

SIDES = (1, 4)  # of the cells that a merged patch is cut into
_SURE = 1e-6  # probability of background in a patch that is wholly covered: its logit has to be finite


def patches_to_grid(logits: Tensor, grid: Grid) -> Tensor:
    """[h * w, side * side] logits of one mask as a picture [h * side, w * side]."""
    height, width = grid
    side = int(logits.shape[-1] ** 0.5)
    return logits.reshape(height, width, side, side).transpose(1, 2).reshape(height * side, width * side)


def as_pictures(logits: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Logits of all masks' cells, one mask after another and row by row, as a picture of its size for each."""
    parts = torch.split(logits, [height * width for height, width in sizes])
    return [part.reshape(size) for part, size in zip(parts, sizes, strict=True)]


def grid_to_patches(picture: Tensor, side: int) -> Tensor:
    """A picture [h * side, w * side] as [h * w, side * side], the inverse of `patches_to_grid`."""
    height, width = picture.shape[0] // side, picture.shape[1] // side
    return picture.reshape(height, side, width, side).transpose(1, 2).reshape(height * width, side * side)


def coverage(record: Record, target: int, grid: Grid, side: int, stored: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Coverage of a target's cells, uint8 [h * side, w * side]: as stored, if that is of this grid, else from the mask."""
    shape = (grid[0] * side, grid[1] * side)
    if stored is not None and stored.shape == shape:
        return stored
    from stamp_data.grid import rle_coverage  # only where there are records: a model runs without the data side

    info = record.targets[target]
    return rle_coverage(info.rle, Shape(*shape), info.ignore_rle)


def sampled_labels(mask: NDArray[np.uint8], grid: Grid) -> NDArray[np.uint8]:
    """Labels of a grid by point sampling, as STAMP's published code has them: the mask resized, then cut off to whole numbers.

    The resize is bilinear without antialiasing, so that only the two by two pixels around a patch's centre are read, and
    the cut makes a patch foreground only if all of them are. On a CPU rounding loses a few more, as it did there. mask: 0 or 1,
    [height, width] of the original image. uint8 [rows, columns] of merged patches, 0 or `FULL`.
    """
    picture = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    sampled = F.interpolate(picture, size=grid, mode="bilinear", align_corners=False)[0, 0]
    return (sampled.long().numpy() * FULL).astype(np.uint8)


def check_coverage(label: NDArray[np.uint8], grid: Grid, side: int, name: str) -> Tensor:
    """Coverage as labels [h * w, side * side] of one mask.

    Raises StampModelError if it is not uint8 of that grid; name: of its dialogue.
    """
    shape = (grid[0] * side, grid[1] * side)
    if label.shape != shape or label.dtype != np.uint8:
        raise StampModelError(
            f"coverage is {label.dtype} {label.shape}, the image's grid asks for uint8 {shape}",
            where=name,
            fix="derive the coverage at this grid from the RLE",
        )
    writable = label.copy()  # as it comes from a shard it is not, and torch warns of that
    return grid_to_patches(torch.from_numpy(writable), side)


def coverage_logits(labels: NDArray[np.uint8]) -> Tensor:
    """What a model would answer whose probabilities are this coverage; cells to be ignored count as background."""
    fraction = torch.from_numpy(np.where(labels == IGNORE, 0, labels).astype(np.float32) / FULL)
    return torch.logit(fraction, eps=_SURE)
