"""Dialogues in the making: what has been said, and where each of its tokens belongs.

Positions and structure are those of `stamp_train.layout`, written for tokens that come one by one: a test holds the two
together. They are always explicit; the state that transformers keeps on the model for positions (`rope_deltas`) is never
looked at.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stamp_train.model.heads import Grid
from stamp_train.model.modeling import ImageFeatures
from stamp_train.model.sampling import TextStream
from stamp_train.model.structure import AttentionStructure


@dataclass(eq=False)
class SourceImage:
    """An image of the call: pixels on their way in, features once the vision tower has run.

    Attributes:
        name: for messages.
        pixel_values: float32 [patches, 1176].
        grid_thw: patches in (time, height, width) before the 2x2 merge.
        size: height and width in pixels, None if only patches were given.
        features: of this image alone.
    """

    name: str
    pixel_values: Tensor
    grid_thw: tuple[int, int, int]
    size: tuple[int, int] | None = None
    features: ImageFeatures | None = None

    @property
    def grid(self) -> Grid:
        """Merged patches (height, width)."""
        return self.grid_thw[1] // 2, self.grid_thw[2] // 2

    @property
    def patches(self) -> int:
        """Number of merged patches."""
        return self.grid[0] * self.grid[1]


@dataclass(eq=False)
class Reply:
    """An answer in the making. It holds all that is needed to go on, so a batch can be given up and begun again.

    Attributes:
        image: index of the image in the call.
        prompt: index of the prompt among the image's.
        name: for messages.
        source: the image, None for text alone.
        opening: ids up to the end of the image, its placeholder not repeated; what dialogues of the image share.
        ids: ids after the opening: what was asked and what is answered.
        start: index in `ids` where the answer begins.
        room: most tokens that may still be decoded.
        stop_ids: tokens that end the answer.
        stream: turns the answer's tokens into text.
        random: what sampling draws from.
        finish: why it ended, `stop` or `length`; None while it goes on.
        pieces: the text so far, as `TextStream` gives it.
        masks: logit picture for the `<|seg|>` at each index of `ids`.
    """

    image: int
    prompt: int
    name: str
    source: SourceImage | None
    opening: tuple[int, ...]
    ids: list[int]
    start: int
    room: int
    stop_ids: frozenset[int]
    stream: TextStream
    random: random.Random
    finish: str | None = None
    pieces: list[tuple[str, str]] = field(default_factory=list)
    masks: dict[int, Tensor] = field(default_factory=dict)

    def take(self, token: int) -> list[tuple[str, str]]:
        """Append a decoded token; the pieces of text that it completes."""
        self.ids.append(token)
        self.room -= 1
        if token in self.stop_ids:
            self.finish = "stop"
        pieces = [] if self.finish else self.stream.push(token)
        if self.finish is None and self.room == 0:
            self.finish = "length"
        if self.finish:
            pieces += self.stream.flush()
        self.pieces += pieces
        return pieces

    def segs(self, seg_id: int) -> list[int]:
        """Indices of the answer's `<|seg|>`; what others said before has no masks."""
        if self.source is None:
            return []
        return [at for at in range(self.start, len(self.ids)) if self.ids[at] == seg_id]


@dataclass(frozen=True)
class Stretch:
    """Tokens that follow one another, int64 [n] each, positions [3, n]; `features` is -1 for text."""

    ids: Tensor
    positions: Tensor
    features: Tensor
    order: Tensor
    document: int
    branch: int = 0
    block: int = 0

    def structure(self) -> AttentionStructure:
        """Who may attend to them."""
        facts = [torch.full_like(self.order, fact) for fact in (self.document, self.branch, self.block)]
        return AttentionStructure(*facts, self.order)


@dataclass(eq=False)
class Document:
    """What dialogues of one image share; without an image, nothing.

    Attributes:
        number: in the batch, from 1.
        source: the image.
        opening: see `Reply`.
        first_row: where the image begins among the batch's features.
        branches: number of dialogues.
        held: whether the cache holds the opening; nothing is always held.
    """

    number: int
    source: SourceImage | None
    opening: tuple[int, ...]
    first_row: int
    branches: int = 0
    held: bool = False

    @property
    def grid(self) -> Grid:
        """Merged patches (height, width); (0, 0) without an image."""
        return self.source.grid if self.source else (0, 0)

    @property
    def length(self) -> int:
        """Number of shared tokens."""
        return len(self.opening) - 1 + self.patches if self.opening else 0

    @property
    def patches(self) -> int:
        """Number of merged patches."""
        return self.grid[0] * self.grid[1]

    @property
    def text_starts(self) -> int:
        """Rotary position of the first token that is not shared: an image spans as much as its longer side."""
        return len(self.opening) - 1 + max(self.grid) if self.opening else 0

    def prefix(self) -> Stretch:
        """The opening, whose last two ids are placeholder and end of image, the placeholder once for every patch."""
        *ids, placeholder, end = self.opening
        before = len(ids)
        places = [torch.arange(before).expand(3, -1), before + _axes(self.grid), torch.full((3, 1), self.text_starts - 1)]
        features = torch.full((self.length,), -1)
        features[before : before + self.patches] = self.rows()
        return Stretch(
            torch.tensor([*ids, *[placeholder] * self.patches, end]),
            torch.cat(places, dim=1),
            features,
            torch.arange(self.length),
            self.number,
        )

    def rows(self) -> Tensor:
        """Where the image's patches are among the batch's features: int64 [patches]."""
        return self.first_row + torch.arange(self.patches)


@dataclass(eq=False)
class Branch:
    """A reply in a batch, whose cache holds the first `held` of its ids."""

    reply: Reply
    document: Document
    number: int
    held: int = 0

    def unread(self) -> Stretch:
        """The ids that the cache does not hold."""
        steps = torch.arange(self.held, len(self.reply.ids))
        return Stretch(
            torch.tensor(self.reply.ids[self.held :]),
            (self.document.text_starts + steps).expand(3, -1),
            torch.full_like(steps, -1),
            self.document.length + steps,
            self.document.number,
            self.number,
        )

    def mask_block(self, at: int, block: int, mask_id: int, scheme: str) -> Stretch:
        """One mask token per merged patch, for the `<|seg|>` at index `at` of the reply's ids."""
        count = self.document.patches
        axes = _axes(self.document.grid) if scheme == "grid" else torch.arange(count).expand(3, -1)
        return Stretch(
            torch.full((count,), mask_id),
            self.document.text_starts + at + 1 + axes,
            self.document.rows(),
            torch.full((count,), self.document.length + at),
            self.document.number,
            self.number,
            block,
        )


def _axes(grid: Grid) -> Tensor:
    """(time, row, column) of the patches of an image, row by row: [3, h * w]."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns]).flatten(1)
