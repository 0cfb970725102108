"""Attention with a row of the batch for every document: for many short documents of about the same length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_train.attention.interface import AttentionPlan
from stamp_train.sequence.structure import AttentionStructure, may_attend


class DocumentsPlan(AttentionPlan):
    """One call of SDPA for all documents, padded to the longest, with the rule as a mask of each.

    With 24 documents of 16 dialogues of 17 tokens, a step takes 1.07 s; with a row for every dialogue 1.14 s.
    """

    name = "documents"

    def __init__(self, structure: AttentionStructure, around: tuple[Tensor, Tensor, Tensor] | None = None) -> None:
        lengths = torch.unique_consecutive(structure.document, return_counts=True)[1]
        steps = torch.arange(int(lengths.max()))
        valid = steps < lengths[:, None]
        self.rows = ((lengths.cumsum(0) - lengths)[:, None] + steps).where(valid, 0)  # [documents, longest]
        self.places = valid.flatten().nonzero()[:, 0]
        facts = structure[self.rows].facts()
        seen = may_attend([fact[:, :, None] for fact in facts], [fact[:, None, :] for fact in facts])
        seen &= valid[:, None, :]
        if around is not None:
            before, picture, after = (rows[self.rows] & valid for rows in around)
            seen |= picture[:, :, None] & picture[:, None, :]
            seen &= ~(after[:, :, None] & before[:, None, :])
        seen[:, :, 0] |= ~valid  # a padded row sees something, as the mean of nothing is not a number
        self.mask = seen[:, None]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `AttentionPlan.attend`; batch size 1."""
        q, k, v = (states[0][:, self.rows].transpose(0, 1) for states in (query, key, value))
        k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=scale)
        return found.transpose(0, 1).flatten(1, 2)[:, self.places][None]
