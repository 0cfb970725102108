"""Who may attend to whom: the one rule, and the per-token facts it needs.

A packed sequence holds several documents. A document is a shared prefix (system line and image) followed by branches,
one per dialogue; a branch is text followed by its mask blocks, one per `<|seg|>`. Each token carries six integers:

`document`  documents never see each other
`branch`    0 for the shared prefix, 1, 2, ... for the dialogues of the document
`block`     0 for text and image tokens, otherwise a number unique to the mask block in the whole sequence
`order`     place on the path prefix -> branch; a mask token has the order of its own `<|seg|>`
`looks`     0, or a number: the token also sees all of its document that shows this number, wherever it stands
`shown`     0, or a number

Every attention backend derives what it computes from these six; none of them knows the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


def may_attend(query: Sequence[Tensor], key: Sequence[Tensor]) -> Tensor:
    """The rule, element by element, from the six facts of each (they broadcast; bool comes out).

    Same document; key in the shared prefix or in the query's own branch; a mask key only within its own block, any other key
    only if it does not come later than the query. So text is causal and never sees mask tokens, and mask tokens see the whole
    history up to their `<|seg|>` and all of their block (the hybrid attention of paper section 3.2, extended to several
    dialogues of one image). Beyond that, a token that looks for a number sees what shows it.
    """
    q_document, q_branch, q_block, q_order, q_looks, _ = query
    k_document, k_branch, k_block, k_order, _, k_shown = key
    same_document = k_document == q_document
    on_path = same_document & ((k_branch == 0) | (k_branch == q_branch))
    earlier_text = (k_block == 0) & (k_order <= q_order)
    own_block = (k_block > 0) & (k_block == q_block)
    looked_for = same_document & (q_looks > 0) & (q_looks == k_shown)
    return on_path & (earlier_text | own_block) | looked_for


@dataclass(frozen=True)
class Movable:
    """What holds tensors, and moves with them."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, Tensor | Movable)}
        return replace(self, **{name: value.to(device) for name, value in held.items()})


@dataclass(frozen=True)
class AttentionStructure(Movable):
    """The six facts of every token of a sequence, each an int64 tensor of shape [L]."""

    document: Tensor
    branch: Tensor
    block: Tensor
    order: Tensor
    looks: Tensor
    shown: Tensor

    def __len__(self) -> int:
        return self.document.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> AttentionStructure:
        return AttentionStructure(*(fact[rows] for fact in self.facts()))

    @classmethod
    def nothing(cls) -> AttentionStructure:
        """That of no token."""
        return cls(*(torch.zeros(0, dtype=torch.int64) for _ in fields(cls)))

    def facts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(document, branch, block, order, looks, shown)."""
        return self.document, self.branch, self.block, self.order, self.looks, self.shown


def visible(query: AttentionStructure, key: AttentionStructure) -> Tensor:
    """The rule as a dense mask: bool [len(query), len(key)], true where the query may attend to the key."""
    return may_attend([fact[:, None] for fact in query.facts()], [fact[None, :] for fact in key.facts()])
