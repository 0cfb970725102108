"""Where each token of a dialogue belongs: positions and structure of what a batch reads.

They are those of `stamp_train.sequence.layout`, written for tokens that come one by one: a test holds the two
together. They are always explicit; the state that transformers keeps on the model for positions (`rope_deltas`) is
never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stamp_train.generation.replies import Reply, SourceImage
from stamp_train.methods.stamp.heads import Grid
from stamp_train.sequence.structure import AttentionStructure


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
        document, branch, block = (
            torch.full_like(self.order, fact) for fact in (self.document, self.branch, self.block)
        )
        return AttentionStructure(document, branch, block, self.order)


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

    def reach(self, length: int, scheme: str) -> int:
        """The highest rotary position of `length` ids after the opening and a mask block at their end."""
        span = max(self.grid) if scheme == "grid" else self.patches
        return self.text_starts + length - 1 + span

    def prefix(self) -> Stretch:
        """The opening, whose last two ids are placeholder and end of image, the placeholder once for every patch."""
        *ids, placeholder, end = self.opening
        before = len(ids)
        places = [
            torch.arange(before).expand(3, -1),
            before + _axes(self.grid),
            torch.full((3, 1), self.text_starts - 1),
        ]
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
