"""`sdpa`: the whole rule as a dense mask. Quadratic in memory; the reference that the others are tested against."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_train.attention.interface import AttentionPlan
from stamp_train.sequence.structure import AttentionStructure, visible


def group_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Grouped-query heads without copying keys: [1, H, L, D], [1, H_kv, ...] -> [H_kv, H / H_kv, ...] each.

    The key-value heads become the batch and are broadcast over their group, which SDPA takes as it is.
    """
    kv_heads = key.shape[1]
    grouped = query.reshape(kv_heads, -1, *query.shape[2:])
    size = (-1, grouped.shape[1], -1, -1)
    return grouped, key.transpose(0, 1).expand(size), value.transpose(0, 1).expand(size)


class DensePlan(AttentionPlan):
    """Dense boolean mask for SDPA. key: structure of the keys, if they are not the queries (a cache and what is new)."""

    name = "sdpa"

    def __init__(self, query: AttentionStructure, key: AttentionStructure | None = None) -> None:
        self.mask = visible(query, query if key is None else key)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `AttentionPlan.attend`; any batch size, as long as its rows share the structure."""
        rows = [
            F.scaled_dot_product_attention(*group_heads(q, k, v), attn_mask=self.mask, scale=scale).reshape(q.shape)
            for q, k, v in zip(*(torch.split(states, 1) for states in (query, key, value)), strict=True)
        ]
        return torch.cat(rows)
