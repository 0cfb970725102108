"""`flex`: FlexAttention with a block mask from the rule; compiled on CUDA. On CPU it has no backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from stamp_train.attention.interface import AttentionPlan
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.structure import AttentionStructure, may_attend

NO_BACKWARD = "FlexAttention has no backward pass on CPU"


@cache
def _kernel(compiled: bool) -> Callable[..., Any]:
    """One kernel for all lengths: compiled without `dynamic`, every new length of a packed batch would compile again."""
    eager: Callable[..., Any] = flex_attention
    return torch.compile(eager, dynamic=True) if compiled else eager


class FlexPlan(AttentionPlan):
    """FlexAttention, on the device of the structure."""

    name = "flex"

    def __init__(self, structure: AttentionStructure) -> None:
        facts = structure.facts()

        def rule(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:  # noqa: ARG001 - the name FlexAttention calls
            return may_attend([fact[q] for fact in facts], [fact[k] for fact in facts])

        device = structure.document.device
        self.kernel = _kernel(compiled=device.type == "cuda")
        length = len(structure)
        self.block_mask = create_block_mask(rule, None, None, length, length, device=device)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `AttentionPlan.attend`; StampModelError where gradients are needed on a CPU, where FlexAttention has none."""
        if query.device.type == "cpu" and torch.is_grad_enabled() and query.requires_grad:
            raise StampModelError(NO_BACKWARD, fix="use attention='segments', or torch.no_grad()")
        grouped = query.shape[1] != key.shape[1]
        out: Tensor = self.kernel(query, key, value, block_mask=self.block_mask, scale=scale, enable_gqa=grouped)
        return out
