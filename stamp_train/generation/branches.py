"""Replies of a batch as the branches of documents, and how much of each the cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from stamp_train.generation.replies import Reply
from stamp_train.sequence.document import Document, Ints, Put, Seg, Stretch, TokenSpan


@dataclass(eq=False)
class CachedDocument(Document):
    """A document of a batch. branches: dialogues so far. held: whether the cache holds the opening; nothing is always held."""

    branches: int = 0
    held: bool = False


@dataclass(eq=False)
class Branch:
    """A reply in a batch, whose cache holds the first `held` of its ids.

    seg_id: of `<|seg|>`. stretch: what stands behind each of them, if anything does. states: final ones [H] around them.
    """

    reply: Reply
    document: CachedDocument
    number: int
    seg_id: int
    stretch: Stretch | None = None
    held: int = 0
    states: dict[int, Tensor] = field(default_factory=dict)

    @property
    def waiting(self) -> int | None:
        """Index of the first `<|seg|>` whose tokens are still to be made; None where a method makes none, or all are there."""
        if self.stretch is None:
            return None
        ids, done = self.reply.ids, self.reply.puts[-1].end if self.reply.puts else 0
        return ids.index(self.seg_id, done) if self.seg_id in ids[done:] else None

    @property
    def stopped(self) -> bool:
        """Whether a fault came when a `<|seg|>` had been read, and before its tokens were made."""
        return self.waiting is not None and self.waiting < self.held

    def unread(self) -> TokenSpan:
        """The ids that the cache does not hold, as far as they can be read."""
        end = None if self.waiting is None else self.waiting + 1
        return self.document.text(self.reply.ids[self.held : end], self.number, self.held, self.reply.puts)

    def can_draw(self, at: int, at_once: bool) -> bool:
        """Whether what the mask of the `<|seg|>` at an index is drawn from is there; at_once: that is what has predicted it."""
        if self.stretch is not None:
            return self.waiting is None or at < self.waiting
        return at < self.held + at_once

    def keep(self, states: Tensor) -> None:
        """Note the states [n, H] of the unread ids where they are those of a `<|seg|>` or of what predicts one."""
        ids = self.reply.ids
        for at in range(self.held, self.held + len(states)):
            if self.seg_id in ids[at : at + 2]:
                self.states[at] = states[at - self.held].clone()
        self.held += len(states)

    def seg(self, at: int) -> Seg:
        """The `<|seg|>` at an index of the reply's ids."""
        state, before = self.states.get(at), self.states.get(at - 1)
        reply = self.reply
        return Seg(
            reply.name, self.document, self.number, reply.ids, at, state=state, state_before=before, puts=reply.puts
        )

    def put(self, numbers: Ints, limit: int) -> None:
        """Put what was made of the `<|seg|>` that was read last behind it; the cache holds what is made of numbers.

        limit: of positions. An answer ends where a mask at its end would go beyond.
        """
        assert self.stretch is not None  # who makes numbers has one
        self.reply.put(Put(self.held - 1, self.stretch, numbers))
        self.held += self.stretch.given
        last = last_position(self.document, self.reply.ids, self.reply.puts, self.stretch, self.seg_id)
        self.reply.leave(limit - 1 - last - self.stretch.advance)


def last_position(
    document: Document, ids: Sequence[int], puts: Sequence[Put], stretch: Stretch | None, seg_id: int
) -> int:
    """Rotary position of a dialogue's last id, with what will yet stand behind each `<|seg|>` before it."""
    moved = sum(one.moved for one in puts)
    if stretch is not None:
        moved += (list(ids).count(seg_id) - len(puts)) * stretch.advance
    return document.text_starts + len(ids) - 1 + moved
