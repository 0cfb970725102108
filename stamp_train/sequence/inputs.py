"""What one forward pass takes, what comes out of it, and what should."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stamp_train.sequence.document import Grid, Seg
from stamp_train.sequence.structure import AttentionStructure, Movable


@dataclass(frozen=True)
class MaskPlace:
    """One mask of a sequence: its `<|seg|>`, and how many states are read for it."""

    seg: Seg
    rows: int

    @property
    def name(self) -> str:
        """The dialogue it belongs to, for messages."""
        return self.seg.name

    @property
    def grid(self) -> Grid:
        """Merged patches of its image."""
        return self.seg.document.grid

    @property
    def image(self) -> int:
        """Index of its image in `StampInputs.image_grid_thw`."""
        return self.seg.document.image


@dataclass(frozen=True)
class StampInputs(Movable):
    """A packed sequence of L tokens with I images, T supervised text rows and R rows that are read for masks.

    input_ids: int64 [1, L]. position_ids: int64 [3, 1, L], rotary positions (time, height, width). feature_rows: int64 [L],
    the row of the merged image features that an image placeholder is replaced by and that any other token has added to its
    embedding; -1 for none. text_rows: int64 [T], rows whose next-token logits are wanted (repeats allowed). mask_rows: int64
    [R], mask after mask as in `masks`. pixel_values: float [patches of all images, channels * time * height * width of a
    patch]. image_grid_thw: int64 [I, 3], patches before the merge. numbers: int64 [K, C], of K masks whose method puts tokens
    into the dialogue; given_rows: int64 [G], the tokens whose embeddings the readout makes of them; given_of: int64 [G, 2], of
    which mask each is, and which of its tokens.
    """

    input_ids: Tensor
    position_ids: Tensor
    structure: AttentionStructure
    feature_rows: Tensor
    text_rows: Tensor
    mask_rows: Tensor
    masks: tuple[MaskPlace, ...] = ()
    pixel_values: Tensor | None = None
    image_grid_thw: Tensor | None = None
    numbers: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    given_rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    given_of: Tensor = field(default_factory=lambda: torch.zeros(0, 2, dtype=torch.int64))


@dataclass(frozen=True)
class Targets(Movable):
    """What the outputs of the inputs' rows should be.

    text_ids: int64 [T], the next token after each of `StampInputs.text_rows`. text_weights: float32 [T]; a token of a shared
    prefix counts once for each dialogue that shares it. labels: what the method learns for all masks, rows one below another.
    mask_of: int64 [rows], the mask that each of them belongs to. sizes: of each mask's label, see `TokenSequence.learn`.
    """

    text_ids: Tensor
    text_weights: Tensor
    labels: Tensor
    mask_of: Tensor
    masks: int
    sizes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class ImageFeatures:
    """Features of all images of a sequence, N merged patches in all, row by row per image.

    merged: [N, H], what the language model gets. patches: [N, 4, E], the last layer before the 2x2 merge, in reading order.
    layers: [N, H] each, what is added after each of the language model's first layers. own: for each image what the method's
    readout made of its pixels, if anything.
    """

    merged: Tensor
    patches: Tensor
    layers: tuple[Tensor, ...] = ()
    own: tuple[Tensor, ...] = ()

    def split(self, sizes: Sequence[int]) -> list[ImageFeatures]:
        """Features of each image, of so many merged patches."""
        merged, patches, *layers = (
            torch.split(part, list(sizes)) for part in (self.merged, self.patches, *self.layers)
        )
        return [
            ImageFeatures(first, second, tuple(rest), self.own[number : number + 1])
            for number, (first, second, *rest) in enumerate(zip(merged, patches, *layers, strict=True))
        ]

    @classmethod
    def join(cls, parts: Sequence[ImageFeatures]) -> ImageFeatures:
        """Features one after another; at least one."""
        layers = zip(*(part.layers for part in parts), strict=True)
        return cls(
            torch.cat([part.merged for part in parts]),
            torch.cat([part.patches for part in parts]),
            tuple(torch.cat(layer) for layer in layers),
            tuple(one for part in parts for one in part.own),
        )


@dataclass(frozen=True)
class Reading:
    """What a readout is given: R states, of the masks one after another.

    states: [R, H], after the last norm. feature_rows: int64 [R], as in `StampInputs`. masks: how many rows each has. merger:
    the vision tower's, which makes tokens [n, H] of patches [4n, E], such as those of `ImageFeatures.patches`. text: [T, H],
    states of `StampInputs.text_rows`, and words: what makes logits [n, V] of states [n, H]; both in whole sequences, not in
    generation.
    """

    states: Tensor
    feature_rows: Tensor
    masks: tuple[MaskPlace, ...]
    features: ImageFeatures
    merger: Any = None
    text: Tensor | None = None
    words: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Outputs:
    """Result of a packed forward pass.

    text_logits: [T, V], for the next token after each of `StampInputs.text_rows`. read: what the method's readout found, by
    name. backend: of attention, the one that ran.
    """

    text_logits: Tensor
    read: Mapping[str, Tensor]
    masks: tuple[MaskPlace, ...]
    backend: str
