"""Mask prompt and points exactly as STAMP's released code makes them, faults included: to reproduce its numbers.

Tests hold both against golden outputs of that code. The faults: the mask prompt goes through 8-bit pixels, and in pictures
that are not square its padding of -1 wraps round to 255, confident foreground; a mask that happens to be as large as the
prompt is not scaled to 8 bits, and its foreground comes out as background of -5.5.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

EPSILON = 1e-3


def published_prior(mask: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """The mask prompt of a hard mask, bool [height, width]: float32 [side, side], 256 in the released models (STAMP,
    `compute_logits_from_mask`)."""
    probability: NDArray[np.floating]
    if mask.shape == (side, side):
        probability = mask.astype(np.float32) / np.float32(255)
    else:
        scale = side / max(mask.shape)
        height, width = (int(length * scale + 0.5) for length in mask.shape)
        shrunk = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
        padded = np.full((side, side), 255, np.uint8)  # what -1 becomes in 8 bits
        padded[:height, :width] = np.asarray(shrunk)
        probability = padded / 255
    probability[probability == 0] = EPSILON
    probability[probability == 1] = 1 - EPSILON
    return np.log(probability / (1 - probability)).astype(np.float32)


def published_points(
    mask: NDArray[np.bool_], positive: int, negative: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels inside and outside a mask, at most so many of each, uniformly without replacement by torch's generator, which the
    released code does not seed: (x, y), float64 [n, 2], and int64 [n], 1 inside, 0 outside."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for side, count in ((mask, positive), (~mask, negative)):
        rows, columns = np.nonzero(side)
        order = torch.randperm(len(rows), generator=generator)[:count].numpy()
        chosen.append(np.stack([columns[order], rows[order]], axis=-1).astype(np.float64))
    return np.concatenate(chosen), np.repeat([1, 0], [len(points) for points in chosen])
