"""Readouts: from the final state of the mask tokens to mask logits.

A readout gets, for M mask tokens, their states [M, H], the vision tower's features of the same patches before the 2x2
merge [M, 4, E] (upper left, upper right, lower left, lower right: the order in which Qwen2-VL lays out a merge block),
the grid of every block, and, if it `needs_words`, the mean embedding [blocks, H] of the last words before each. It returns
[M, side * side] logits, row by row within the patch. `HEADS` is the seam: another readout is a class there with a `side`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.errors import StampModelError

Grid = tuple[int, int]

_WAVES = 4  # sines and cosines per axis; the picture is a quarter of the slowest's length


class PatchHead(nn.Linear):
    """The published classifier: one logit per 28-pixel patch, from the state alone (`classifier.weight`, `.bias`)."""

    side: ClassVar[int] = 1
    needs_vision: ClassVar[bool] = False
    needs_words: ClassVar[bool] = False

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:  # noqa: ARG002 - one signature
        super().__init__(hidden_size, 1)

    def forward(self, states: Tensor, vision: Tensor | None = None, grids: Sequence[Grid] = ()) -> Tensor:  # noqa: ARG002
        """See the module's text; logits [M, 1]."""
        return super().forward(states)


class FineHead(nn.Module):
    """4x4 sub-patches of 7 pixels, from the token's state and the vision features of its four 14-pixel patches.

    The state says what is sought, the vision features, which no merge has blurred, where it is. So the state weighs the
    channels of the features: a product, which tells more than a sum (bench/head.py compares the designs). It also gives
    each 14-pixel patch an offset, which says where in the token's patch the object lies.
    """

    side: ClassVar[int] = 4
    needs_vision: ClassVar[bool] = True

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__()
        width = config.head_width
        self.norm = nn.LayerNorm(vision_size)  # the tower ends unnormalised: its own merger begins with a norm too
        self.vision = nn.Linear(vision_size, width)
        self.state = nn.Linear(hidden_size, 5 * width)
        self.act = nn.GELU()
        self.out = nn.Linear(width, 4)
        self.needs_words = config.head_words > 0
        if self.needs_words:
            self.places = WordsOfPlace(hidden_size, width)

    def forward(
        self, states: Tensor, vision: Tensor, grids: Sequence[Grid] = (), words: Tensor | None = None
    ) -> Tensor:
        """See the module's text; logits [M, 16]."""
        logits = by_rows(self.out(self.joined(states, vision)))
        return logits if words is None else logits + self.places(words, grids)

    def joined(self, states: Tensor, vision: Tensor) -> Tensor:
        """State and vision features of every 14-pixel patch: [M, 4, width]."""
        weights, offsets = self.state(states).unflatten(-1, (5, -1)).split((1, 4), dim=1)
        joined: Tensor = self.act(weights * self.vision(self.norm(vision)) + offsets)
        return joined


class WordsOfPlace(nn.Module):
    """Where words lead: "left" to the left, whatever is sought. A product of the words and of each patch's place.

    Rotary positions say only how far apart two tokens are, so that a network has to find out where a patch lies, and to
    bring the right word to it, before that word can be of any use; small ones never do (docs/benchmarks/model.md).
    """

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.query = nn.Linear(hidden_size, width)
        self.place = nn.Linear(4 * _WAVES, width, bias=False)

    def forward(self, words: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Logits [M, 1] to add to every mask token's, from the mean embeddings [blocks, H] of words."""
        sizes = torch.tensor([height * width for height, width in grids], dtype=torch.int64)
        waves = [torch.zeros(0, 4 * _WAVES), *map(_waves, grids)]
        queries = self.query(self.norm(words)).repeat_interleave(sizes.to(words.device), dim=0)
        logits: Tensor = (queries * self.place(torch.cat(waves).to(words))).sum(-1, keepdim=True)
        return logits


@lru_cache(maxsize=256)
def _waves(grid: Grid) -> Tensor:
    """Places of patches, row by row, as waves over the picture: [h * w, 4 * _WAVES]."""
    rows, columns = ((torch.arange(count) + 0.5) / count for count in grid)
    angles = torch.cartesian_prod(rows, columns)[:, :, None] * (torch.pi / 2 * torch.arange(1, _WAVES + 1))
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def by_rows(logits: Tensor) -> Tensor:
    """[M, 14-pixel patch, 7-pixel patch in it], both 2x2 row by row, as [M, 16], the 4x4 row by row."""
    return logits.reshape(len(logits), 2, 2, 2, 2).transpose(2, 3).flatten(1)


HEADS: dict[str, type[PatchHead] | type[FineHead]] = {"patch": PatchHead, "fine": FineHead}


def head_class(name: str) -> type[PatchHead] | type[FineHead]:
    """The readout of that name.

    Raises:
        StampModelError: there is none.
    """
    if name not in HEADS:
        raise StampModelError(f"no mask head {name!r}", fix=f"choose one of {', '.join(HEADS)}")
    return HEADS[name]


def patches_to_grid(logits: Tensor, grid: Grid) -> Tensor:
    """[h * w, side * side] logits of one block as a picture [h * side, w * side]."""
    height, width = grid
    side = int(logits.shape[-1] ** 0.5)
    return logits.reshape(height, width, side, side).transpose(1, 2).reshape(height * side, width * side)


def grid_to_patches(picture: Tensor, side: int) -> Tensor:
    """A picture [h * side, w * side] as [h * w, side * side], the inverse of `patches_to_grid`."""
    height, width = picture.shape[0] // side, picture.shape[1] // side
    return picture.reshape(height, side, width, side).transpose(1, 2).reshape(height * width, side * side)
