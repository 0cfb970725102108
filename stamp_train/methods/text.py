"""The loss of text, the same for all methods."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from stamp_train.sequence.inputs import Targets


def text_loss(logits: Tensor, targets: Targets) -> tuple[Tensor, float]:
    """Cross-entropy of the next token (paper eq. 1) from logits [T, V], computed in float32: (weighted sum, weight)."""
    losses = F.cross_entropy(logits.float(), targets.text_ids, reduction="none")
    return (losses * targets.text_weights).sum(), text_count(targets)


def text_count(targets: Targets) -> float:
    """Weight of the supervised tokens."""
    return float(targets.text_weights.sum())
