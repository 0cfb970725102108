"""What one forward pass takes, a packed sequence and the rows that are read out, and what should come out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from stamp_train.sequence.structure import AttentionStructure

UNNAMED = -100  # name of a patch of which nothing is known


@dataclass(frozen=True)
class MaskBlock:
    """One `<|seg|>` of the sequence.

    Attributes:
        name: the dialogue it belongs to, for messages.
        image: index of its image in `StampInputs.image_grid_thw`.
        grid: merged patches (height, width); the block has height * width mask tokens, row by row.
        words: ids of the last tokens before it, as many as the readout is told (`StampConfig.head_words`), fewer at a start.
    """

    name: str
    image: int
    grid: tuple[int, int]
    words: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of mask tokens."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class StampInputs:
    """A packed sequence of L tokens with I images, T supervised text rows and M mask tokens.

    Attributes:
        input_ids: int64 [1, L].
        position_ids: int64 [3, 1, L], rotary positions (time, height, width).
        structure: who may attend to whom.
        feature_rows: int64 [L]; the row of the merged image features that an image placeholder is replaced by and that
            a mask token has added to its embedding; -1 for text.
        text_rows: int64 [T], rows whose next-token logits are wanted (repeats allowed).
        mask_rows: int64 [M], rows of the mask tokens, block after block.
        blocks: the mask blocks in that order.
        pixel_values: float [patches of all images, channels * time * 14 * 14], None if there is no image.
        image_grid_thw: int64 [I, 3], patches before the 2x2 merge.
    """

    input_ids: Tensor
    position_ids: Tensor
    structure: AttentionStructure
    feature_rows: Tensor
    text_rows: Tensor
    mask_rows: Tensor
    blocks: tuple[MaskBlock, ...] = ()
    pixel_values: Tensor | None = None
    image_grid_thw: Tensor | None = None

    def to(self, device: torch.device | str) -> StampInputs:
        """The same inputs on another device."""
        moved: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor | AttentionStructure)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class Targets:
    """What the outputs of the inputs' rows should be.

    Attributes:
        text_ids: int64 [T], the next token after each of `StampInputs.text_rows`.
        text_weights: float32 [T]; a token of a shared prefix counts once for each dialogue that shares it.
        coverage: uint8 [M, side * side] for each mask token, round(254 * covered fraction), 255 = ignore.
        mask_of: int64 [M], the mask block that each mask token belongs to.
        masks: number of mask blocks.
        names: int64 [4 N], the number of the name of each 14-pixel patch of all images, as the vision tower has them, or
            `UNNAMED`; empty where no names are learned.
    """

    text_ids: Tensor
    text_weights: Tensor
    coverage: Tensor
    mask_of: Tensor
    masks: int
    names: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on another device."""
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)
