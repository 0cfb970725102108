"""Losses by name: each a sum and the number of things summed, so that any split of a batch gives the same gradient.

Divide by the counts of the *global* batch (all ranks, all micro-batches) before the backward pass: how the batch was split
then no longer shows in the gradient. Which names there are follows from a method's settings alone, so that all ranks agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas.record import IGNORE
from stamp_train.sequence.inputs import Targets

Losses = dict[str, tuple[Tensor, float]]  # of one sequence: (weighted sum, a float32 scalar; its own count)
Counts = dict[str, float]


def added(counts: Iterable[Counts]) -> Counts:
    """The sum of counts that have the same names; empty for none."""
    sums: Counts = {}
    for one in counts:
        sums = {name: sums.get(name, 0.0) + value for name, value in one.items()}
    return sums


def means(losses: Losses, over: Mapping[str, float] | None = None) -> dict[str, Tensor]:
    """Mean of each loss over the given counts, or over its own; a count below 1 divides by 1."""
    return {name: part / max(own if over is None else over[name], 1.0) for name, (part, own) in losses.items()}


def total(losses: Losses, over: Mapping[str, float] | None = None) -> Tensor:
    """The sum of the means: what gradients are taken of."""
    return torch.stack(list(means(losses, over).values())).sum()


def text_loss(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the cross-entropy of the next token (paper eq. 1).

    logits: [T, V], any float type, computed in float32. ids: int64 [T]. weights: float32 [T].
    """
    return (F.cross_entropy(logits.float(), ids, reduction="none") * weights).sum()


def text_count(targets: Targets) -> float:
    """Weight of the supervised tokens."""
    return float(targets.text_weights.sum())


def scored_masks(targets: Targets) -> float:
    """How many masks have a label that counts."""
    scored = (targets.labels != IGNORE).any(1)
    return float((torch.bincount(targets.mask_of[scored], minlength=targets.masks) > 0).sum())
