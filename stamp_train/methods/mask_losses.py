"""Binary cross-entropy and Dice as LISA has them, and all who follow it: each mask a whole, with the published constants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas.record import FULL, IGNORE
from stamp_train.sequence.inputs import Targets

_SCALE, _EPSILON = 1000.0, 1e-6  # Dice's sums are made small, and only that little is added to them


def mask_losses(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Cross-entropy, the mean over a mask's cells, and Dice, float32 [masks] each, not weighted.

    logits: float [R], as many as the targets have labels, computed in float32. Cells to be ignored count in neither, a mask
    of no others costs nothing. So little is added to Dice that of an empty mask any prediction, however small, costs 1.
    """
    scored = targets.labels[:, 0] != IGNORE
    wanted = targets.labels[:, 0].float() / FULL * scored
    logits = logits.float()
    found = logits.sigmoid() * scored
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * scored

    sizes = torch.bincount(targets.mask_of, minlength=targets.masks).tolist()

    def sums(values: Tensor) -> Tensor:
        # Each by itself: one running sum over so many cells, as of index_add, loses the last digits.
        return torch.stack([part.sum() for part in torch.split(values, sizes)]) if sizes else values[:0]

    cells = sums(scored.float())
    overlap = 2 * sums(found / _SCALE * wanted) + _EPSILON
    dice = 1 - overlap / (sums(found / _SCALE) + sums(wanted / _SCALE) + _EPSILON)
    return sums(entropy) / cells.clamp(min=1), dice * (cells > 0)


def scored_masks(targets: Targets) -> float:
    """How many masks have a cell that counts."""
    scored = targets.labels[:, 0] != IGNORE
    return float((torch.bincount(targets.mask_of[scored], minlength=targets.masks) > 0).sum())
