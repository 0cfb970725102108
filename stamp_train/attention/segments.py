"""`segments`: one SDPA call per segment. No dense mask, cost in proportion to what is visible, runs anywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_train.attention.dense import group_heads
from stamp_train.attention.interface import AttentionPlan
from stamp_train.attention.partition import Segment, partition
from stamp_train.sequence.structure import AttentionStructure


class SegmentsPlan(AttentionPlan):
    """Attention segment by segment.

    Queries, keys and values are split into the pieces once, so that the backward pass joins the gradients of all
    segments once too, instead of filling a whole sequence of zeros for every slice.
    """

    name = "segments"

    def __init__(self, structure: AttentionStructure) -> None:
        found = partition(structure)
        self.lengths = list(found.lengths)
        self.segments = found.segments
        # The mask of a branch is as wide as its document but only as high as its text: small, and the same each layer.
        self.masks = [self._causal_mask(segment, structure.document.device) for segment in self.segments]

    def _causal_mask(self, segment: Segment, device: torch.device) -> Tensor | None:
        """Lower-right aligned causal mask where queries and keys differ in number; None where no mask is needed."""
        rows, columns = (sum(self.lengths[i] for i in side) for side in (segment.query, segment.key))
        if not segment.causal or rows == columns:
            return None
        return torch.ones(rows, columns, dtype=torch.bool, device=device).tril(columns - rows)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `AttentionPlan.attend`; batch size 1."""
        if query.device.type == "cpu" and query.dtype != torch.float32:
            # Not for its digits: PyTorch's backward pass of attention on CPUs is twice as slow in half precision.
            with torch.autocast("cpu", enabled=False):
                return self._attend(query.float(), key.float(), value.float(), scale).to(query.dtype)
        return self._attend(query, key, value, scale)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        queries, keys, values = (torch.split(states, self.lengths, dim=2) for states in (query, key, value))
        outputs: list[Tensor | None] = [None] * len(self.lengths)
        for segment, mask in zip(self.segments, self.masks, strict=True):
            q = _join(queries, segment.query)
            k, v = _join(keys, segment.key), _join(values, segment.key)
            found = F.scaled_dot_product_attention(
                *group_heads(q, k, v), attn_mask=mask, is_causal=segment.causal and mask is None, scale=scale
            ).reshape(q.shape)
            parts = torch.split(found, [self.lengths[i] for i in segment.query], dim=2)
            for number, part in zip(segment.query, parts, strict=True):
                outputs[number] = part
        return torch.cat([part for part in outputs if part is not None], dim=2)


def _join(pieces: tuple[Tensor, ...], numbers: tuple[int, ...]) -> Tensor:
    return pieces[numbers[0]] if len(numbers) == 1 else torch.cat([pieces[i] for i in numbers], dim=2)
