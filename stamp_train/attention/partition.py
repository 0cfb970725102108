"""The structure as a list of segments: which stretch of queries meets which stretches of keys, and how.

The rule of `structure.may_attend` leaves few shapes. The text of a branch is causal over prefix and branch, but tokens of one
order see one another; a mask block sees prefix, branch up to its `<|seg|>` and itself, without any mask; tokens that look for
a number see what is before them, one another, and what shows it, without any mask either. So a sequence falls into contiguous
pieces, and attention into segments whose keys are pieces in full - nothing masked is ever computed but the causal half.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.structure import AttentionStructure

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """Queries (piece numbers) against keys (piece numbers).

    With `causal` the queries are the last keys, and query i from the end sees all keys but the last i (the mask aligned
    to the lower right); otherwise every query sees every key.
    """

    query: tuple[int, ...]
    key: tuple[int, ...]
    causal: bool


@dataclass(frozen=True)
class Partition:
    """Contiguous pieces that cover the sequence (their lengths, in order) and the segments over them."""

    lengths: tuple[int, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class _Piece:
    number: int
    document: int
    branch: int
    block: int
    first: int  # order of its first token
    looks: int
    shown: int
    last: int  # order of its last token
    length: int

    @property
    def together(self) -> bool:
        """Whether all of it, more than one token, is of one order."""
        return self.length > 1 and self.first == self.last


def partition(structure: AttentionStructure) -> Partition:
    """Cut a sequence into pieces and attention into segments.

    Raises StampModelError if the text of a branch is not in order, or comes before the shared prefix; or if tokens look for
    what they do not show themselves, or out of a mask block.
    """
    _, _, _, order, _, _ = facts = [fact.cpu().numpy() for fact in structure.facts()]
    starts = _piece_starts(*facts)
    stops = np.append(starts[1:], len(structure))
    lengths = stops - starts
    columns = [np.arange(len(starts)), *(fact[starts] for fact in facts), order[stops - 1], lengths]  # of `_Piece`
    pieces = [_Piece(*row) for row in np.stack(columns, 1).tolist()]
    by_document: dict[int, list[_Piece]] = {}
    for piece in pieces:
        by_document.setdefault(piece.document, []).append(piece)
    segments = [segment for members in by_document.values() for segment in _segments(members)]
    return Partition(tuple(lengths.tolist()), tuple(segments))


def _piece_starts(document: Ints, branch: Ints, block: Ints, order: Ints, looks: Ints, shown: Ints) -> Ints:
    """Cuts where anything but order changes, text steps back, around text of one order, where a mask block's history ends."""
    changes = np.zeros(len(document), dtype=bool)
    changes[0] = True
    for fact in (document, branch, block, looks, shown):
        changes[1:] |= fact[1:] != fact[:-1]
    masks = block > 0
    equal = ~changes[1:] & ~masks[1:] & (order[1:] == order[:-1])
    together = np.append(False, equal) | np.append(equal, False)
    changes[1:] |= ~masks[1:] & ((order[1:] < order[:-1]) | (~equal & (together[1:] | together[:-1])))
    ends = {tuple(end) for end in np.stack([document[masks], branch[masks], order[masks]], 1).tolist()}
    text = np.flatnonzero(~masks[:-1])
    changes[1:][text] |= [(document[i], branch[i], order[i]) in ends for i in text] if ends else False
    return np.flatnonzero(changes)


def _segments(pieces: list[_Piece]) -> list[Segment]:
    """The segments of one document."""
    text: dict[int, list[_Piece]] = {}
    blocks: dict[int, list[_Piece]] = {}
    for piece in pieces:
        if piece.block:
            blocks.setdefault(piece.block, []).append(piece)
        else:
            text.setdefault(piece.branch, []).append(piece)
    prefix = text.get(0, [])
    found = []
    for branch, members in text.items():
        history = members if branch == 0 else prefix + members
        _check_order(history)
        found += _of_text(members, history, pieces)
    for members in blocks.values():
        head = members[0]
        own = text.get(head.branch, []) if head.branch else []
        history = [piece for piece in prefix + own if piece.last <= head.first]
        _check_looking(members)
        found.append(Segment(_numbers(members), _numbers(history + members), causal=False))
    return found


def _of_text(members: list[_Piece], history: list[_Piece], pieces: list[_Piece]) -> list[Segment]:
    """Stretches of the text of a branch, the last of a history, which end where tokens look ahead; one order needs no mask."""
    found = []
    for (looks, together), group in groupby(members, key=lambda one: (one.looks, one.together and one.number + 1)):
        stretch = list(group)
        before = history[: history.index(stretch[-1]) + 1]
        if looks:
            _check_looking(stretch)
            ahead = [piece for piece in pieces if piece.shown == looks and piece not in before]
            found.append(Segment(_numbers(stretch), _numbers(before + ahead), causal=False))
        else:
            found.append(Segment(_numbers(stretch), _numbers(before), causal=not together))
    return found


def _check_looking(pieces: list[_Piece]) -> None:
    """What sees one another without any mask has to: by a number that it looks for and shows, or in a mask block by that."""
    for piece in pieces:
        if piece.looks and (piece.block or piece.looks != piece.shown):
            raise StampModelError(
                f"tokens of document {piece.document}, branch {piece.branch} look for what they do not show, or out of a block",
                fix="use attention='sdpa', or lay the sequence out with stamp_train.sequence.layout",
            )


def _check_order(history: list[_Piece]) -> None:
    """Causal kernels go by place, the rule goes by order: they agree only if text is in order."""
    for before, after in pairwise(history):
        if after.first <= before.last or after.number < before.number:
            raise StampModelError(
                f"text of document {after.document}, branch {after.branch} is not in order of its path",
                fix="use attention='sdpa', or lay the sequence out with stamp_train.sequence.layout",
            )


def _numbers(pieces: list[_Piece]) -> tuple[int, ...]:
    return tuple(piece.number for piece in pieces)
