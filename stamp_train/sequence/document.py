"""What lies where in a document: one image and the dialogues about it, or one dialogue without an image.

    [opening with the image] [dialogue 1] ... [dialogue k]

Training lays out a document whole, generation as its tokens come; both ask here for ids, positions and places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

MERGE = 2  # patches of the vision tower per side of a merged one, in every family so far; readouts are built on it
Grid = tuple[int, int]  # merged patches of an image, rows and columns
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stretch:
    """Tokens that a method puts into a dialogue right after a `<|seg|>`: the text goes on behind them, and sees them.

    positions: rotary, int64 [3, n], counted from that of the `<|seg|>`. advance: how many positions the text behind is moved
    on by. order: int64 [n], counted from that of the `<|seg|>`, at most n; equal ones see each other. given: how many of them,
    the first ones, have embeddings that the readout makes of numbers; see `Readout.embed`.
    """

    ids: tuple[int, ...]
    positions: Ints
    advance: int
    order: Ints
    given: int


@dataclass(frozen=True, eq=False)
class Put:
    """A stretch that stands in a dialogue. at: index of its `<|seg|>` in the dialogue's ids. numbers: int64 [C]."""

    at: int
    stretch: Stretch
    numbers: Ints

    @property
    def end(self) -> int:
        """Index of the first id behind it."""
        return self.at + 1 + len(self.stretch.ids)

    @property
    def moved(self) -> int:
        """How much further the positions behind it are than indices say."""
        return self.stretch.advance - len(self.stretch.ids)


@dataclass(frozen=True, eq=False)
class Given:
    """Tokens of a span whose embeddings are made of numbers. rows: in the span. places: among those of their stretch."""

    numbers: Ints
    rows: Ints
    places: Ints


@dataclass(frozen=True)
class TokenSpan:
    """Tokens that follow one another: int64 [n] each, positions [3, n]. features: -1 for those without an image's feature.

    Who sees them: see `sequence.structure`. given: what of it a method has put there.
    """

    ids: Ints
    positions: Ints
    features: Ints
    order: Ints
    document: int
    branch: int = 0
    block: int = 0
    looks: Ints | int = 0
    shown: Ints | int = 0
    given: tuple[Given, ...] = ()


@dataclass(eq=False)
class Document:
    """What dialogues of one image share; without an image, nothing.

    number: in the sequence, from 1. opening: ids up to the end of the image, its placeholder not repeated. image: its number
    in the sequence. first_row: where its patches begin among the features of all images. begins: in training, the row of the
    sequence where it does. image_states: in generation, the final states [patches, H] of the image's tokens, where the method
    keeps them. looks_for: id of a token that the image's tokens see wherever it stands in the document, and with it one
    another; -1 for none.
    """

    number: int
    opening: tuple[int, ...] = ()
    grid: Grid = (0, 0)
    image: int = 0
    first_row: int = 0
    begins: int = -1
    image_states: Tensor | None = None
    looks_for: int = -1

    @property
    def patches(self) -> int:
        """Number of merged patches."""
        return self.grid[0] * self.grid[1]

    @property
    def length(self) -> int:
        """Number of shared tokens."""
        return len(self.opening) - 1 + self.patches if self.opening else 0

    @property
    def text_starts(self) -> int:
        """Rotary position of the first token that is not shared: an image spans as much as its longer side."""
        return len(self.opening) - 1 + max(self.grid) if self.opening else 0

    def rows(self) -> Ints:
        """Where the image's patches are among the features: [patches]."""
        return self.first_row + np.arange(self.patches)

    @property
    def image_at(self) -> int:
        """Place of the image's first token among those that are shared, and its rotary position."""
        return len(self.opening) - 2

    def image_rows(self) -> Ints:
        """In training, where the image's own tokens are in the sequence: [patches]."""
        return self.begins + self.image_at + np.arange(self.patches)

    def image_positions(self) -> Ints:
        """Rotary positions of the image's tokens, [3, patches]."""
        return self.image_at + grid_axes(self.grid)

    def prefix(self) -> TokenSpan:
        """The opening, whose last two ids are placeholder and end of image, the placeholder once for every patch."""
        if not self.opening:
            nothing = np.zeros(0, np.int64)
            return TokenSpan(nothing, np.zeros((3, 0), np.int64), nothing, nothing, self.number)
        *ids, placeholder, end = self.opening
        before = self.image_at
        places = [
            np.tile(np.arange(before), (3, 1)),
            self.image_positions(),
            np.full((3, 1), self.text_starts - 1),
        ]
        features = np.full(self.length, -1, np.int64)
        features[before : before + self.patches] = self.rows()
        shown = (features >= 0).astype(np.int64) if self.looks_for >= 0 else 0
        return TokenSpan(
            np.array([*ids, *[placeholder] * self.patches, end], np.int64),
            np.concatenate(places, axis=1),
            features,
            np.arange(self.length),
            self.number,
            looks=shown,
            shown=shown,
        )

    def text(self, ids: Sequence[int], branch: int, first: int = 0, puts: Sequence[Put] = ()) -> TokenSpan:
        """Ids of a dialogue from its index `first` on, which counts from the end of the opening.

        puts: all that stands in the dialogue before the end of these ids, in order; its ids are among them.
        """
        steps = first + np.arange(len(ids))
        positions = np.tile(self.text_starts + steps, (3, 1))
        order, given, moved = self.length + steps, [], 0
        for one in puts:
            inside = np.flatnonzero((steps > one.at) & (steps < one.end))
            places = steps[inside] - one.at - 1
            positions[:, inside] = self.text_starts + one.at + moved + one.stretch.positions[:, places]
            order[inside] = self.length + one.at + one.stretch.order[places]
            own = places < one.stretch.given
            if own.any():
                given.append(Given(one.numbers, inside[own], places[own]))
            moved += one.moved
            positions[:, steps >= one.end] += one.moved
        return TokenSpan(
            np.array(ids, np.int64),
            positions,
            np.full(len(ids), -1, np.int64),
            order,
            self.number,
            branch,
            shown=(np.array(ids, np.int64) == self.looks_for).astype(np.int64) if self.looks_for >= 0 else 0,
            given=tuple(given),
        )


@dataclass(frozen=True, eq=False)
class Seg:
    """One `<|seg|>`, in training and in generation.

    ids: of its dialogue after the document's opening, as far as they are known; it is the one at index `at`. row, row_before:
    in training, the rows of the sequence that hold it and that predict it. state, state_before: in generation, their final
    states [H]. puts: what a method has put into the dialogue before it, and behind it if that is there: numbers are those of
    the latter.
    """

    name: str
    document: Document
    branch: int
    ids: Sequence[int]
    at: int
    row: int = -1
    row_before: int = -1
    state: Tensor | None = None
    state_before: Tensor | None = None
    puts: Sequence[Put] = field(default=())

    @property
    def numbers(self) -> Ints | None:
        """Of what stands behind it."""
        return next((one.numbers for one in self.puts if one.at == self.at), None)

    @property
    def order(self) -> int:
        """Its place on the path prefix -> branch."""
        return self.document.length + self.at

    @property
    def position(self) -> int:
        """Its rotary position, the same on all axes."""
        return self.document.text_starts + self.at + sum(one.moved for one in self.puts if one.at < self.at)


def grid_axes(grid: Grid) -> Ints:
    """(time, row, column) of every patch of an image, row by row: [3, h * w]."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return np.stack([np.zeros_like(rows), rows, columns])


def merged_grid(grid_thw: tuple[int, int, int]) -> Grid:
    """Merged patches of an image whose patches are so many in time, height and width."""
    return grid_thw[1] // MERGE, grid_thw[2] // MERGE
