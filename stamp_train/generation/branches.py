"""Replies of a batch as the branches of documents, and how much of each the cache holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from stamp_train.generation.replies import Reply
from stamp_train.sequence.document import Document, Seg, TokenSpan


@dataclass(eq=False)
class CachedDocument(Document):
    """A document of a batch. branches: dialogues so far. held: whether the cache holds the opening; nothing is always held."""

    branches: int = 0
    held: bool = False


@dataclass(eq=False)
class Branch:
    """A reply in a batch, whose cache holds the first `held` of its ids. states: final ones [H] around each `<|seg|>`."""

    reply: Reply
    document: CachedDocument
    number: int
    held: int = 0
    states: dict[int, Tensor] = field(default_factory=dict)

    def unread(self) -> TokenSpan:
        """The ids that the cache does not hold."""
        return self.document.text(self.reply.ids[self.held :], self.number, self.held)

    def keep(self, states: Tensor, seg_id: int) -> None:
        """Note the states [n, H] of the unread ids where they are those of a `<|seg|>` or of what predicts one."""
        ids = self.reply.ids
        for at in range(self.held, len(ids)):
            if seg_id in ids[at : at + 2]:
                self.states[at] = states[at - self.held].clone()

    def seg(self, at: int) -> Seg:
        """The `<|seg|>` at an index of the reply's ids."""
        state, before = self.states.get(at), self.states.get(at - 1)
        return Seg(self.reply.name, self.document, self.number, self.reply.ids, at, state=state, state_before=before)
