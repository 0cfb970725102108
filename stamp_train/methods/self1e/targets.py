"""Masks as SELF1E's published code learns them: small pictures, whatever the grid of patches."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from stamp_schemas import Record
from stamp_schemas.record import FULL, IGNORE
from stamp_train.methods.contract import Label

SHORT = 128  # pixels of the shorter side, at most


def resized(record: Record, target: int) -> Label:
    """A mask resized bilinearly, without antialiasing, to at most `SHORT` on its shorter side: uint8 [h, w], 0 to `FULL`.

    Pixels that anything to be ignored is part of are `IGNORE`, which the published code does not have.
    """
    from stamp_data.rle import decode  # only where there are records: a model runs without the data side

    info = record.targets[target]
    label = np.round(_smaller(decode(info.rle)) * FULL).astype(np.uint8)
    if info.ignore_rle is not None:
        label[_smaller(decode(info.ignore_rle)) > 0] = IGNORE
    return label


def _smaller(mask: Label) -> np.ndarray:
    """float32 [h, w]."""
    height, width = mask.shape
    scale = min(1.0, SHORT / min(height, width))
    size = (int(height * scale), int(width * scale))
    picture = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    return F.interpolate(picture, size=size, mode="bilinear")[0, 0].numpy()
