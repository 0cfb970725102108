"""Losses by name: each a sum and the number of things summed, so that any split of a batch gives the same gradient.

Divide by the counts of the *global* batch (all ranks, all micro-batches) before the backward pass: how the batch was split
then no longer shows in the gradient. Which names there are follows from a method's settings alone, so that all ranks agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from stamp_train.sequence.inputs import Targets

Losses = dict[str, tuple[Tensor, float]]  # of one sequence: (weighted sum, a float32 scalar; its own count)
Counts = dict[str, float]


class Objective(Protocol):
    """What a step asks of a method. divide_by: `global` counts, or those of the `micro` batch. asked: more arguments of the
    network's forward pass."""

    @property
    def divide_by(self) -> str: ...

    @property
    def asked(self) -> dict[str, Any]: ...

    def count(self, targets: Targets) -> Counts:
        """What each loss of a sequence is divided by, from its targets alone: known before any forward pass."""

    def losses(self, output: Any, targets: Targets) -> Losses:
        """The losses of one sequence, under the names that `count` has."""


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
