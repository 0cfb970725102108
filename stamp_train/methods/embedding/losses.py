"""What LISA's masks are trained by: binary cross-entropy and Dice, each mask a whole, weighed as published."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

BCE, DICE = 2.0, 0.5  # published weights
_SCALE, _EPSILON = 1000.0, 1e-6  # published: Dice's sums are made small, and only that little is added to them


def bce(logits: Tensor, labels: Tensor, scored: Tensor) -> Tensor:
    """Mean cross-entropy of a mask's cells that are scored, not weighted: a float32 scalar, 0 if there are none.

    logits: float [h, w], computed in float32; labels: float [h, w], 0 to 1; scored: bool [h, w].
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none") * scored
    return losses.sum() / scored.sum().clamp(min=1)


def dice(logits: Tensor, labels: Tensor, scored: Tensor) -> Tensor:
    """Dice loss of a mask, not weighted; arguments as for `bce`.

    Next to nothing is added above and below, so that of an empty mask any prediction, however small, costs 1.
    """
    found, wanted = logits.float().sigmoid() * scored, labels * scored
    overlap = 2 * (found / _SCALE * wanted).sum() + _EPSILON
    return (1 - overlap / ((found / _SCALE).sum() + (wanted / _SCALE).sum() + _EPSILON)) * scored.any()
