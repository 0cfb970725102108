"""What the network learns beside answers, at every patch: what is seen there. The layers for it are thrown away at the end.

Answers alone teach a random network slowly: words choose between what the tower tells apart, and the tower learns to tell
apart what words choose between. So four losses say it directly:

`patches`  of every patch of 14 pixels, a layer on the tower: shape, color, where the middle of the thing is, how large it is
`words`    of every merged patch, no layer: the feature that the language model is given looks like the embeddings of its words
`things`   of every merged patch, a layer: middle and size of the things at its four patches
`places`   after the first layer of the language model: row and column, which rotary positions say only by distances
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stamp_train.sequence.document import MERGE, Grid, grid_axes
from stamp_train.sequence.inputs import ImageFeatures
from tools.tiny_base.recipe import Losses
from tools.tiny_base.scenes import COLOUR_NAMES, SHAPE_NAMES

_SHAPES, _COLOURS = len(SHAPE_NAMES) + 1, len(COLOUR_NAMES) + 1  # the last is the ground


@dataclass
class Labels:
    """Of the images of a batch, one after another; see `scenes.Pool` for what they are."""

    shapes: Tensor
    colours: Tensor
    rest: Tensor
    merged_shapes: Tensor
    merged_colours: Tensor


class Naming(nn.Module):
    """Losses by name, each a mean. groups: ids of the tokens of the shapes' and of the colours' names, as they begin an
    answer and as they stand in a sentence."""

    def __init__(
        self, vision_width: int, hidden: int, groups: Sequence[tuple[list[int], list[int]]], grid: Grid
    ) -> None:
        super().__init__()
        self.patch = nn.Sequential(nn.LayerNorm(vision_width), nn.Linear(vision_width, _SHAPES + _COLOURS + 4))
        self.thing = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4 * MERGE**2))
        self.place = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 2))
        self.groups = groups
        self.grid = grid

    def forward(
        self, network: Any, features: ImageFeatures, early: Tensor | None, labels: Labels, weights: Losses
    ) -> dict[str, Tensor]:
        """Weighted losses: of the tower where it learns, which is before there are questions; of places after it. early: see
        `network.Seen`; None where only the tower has run."""
        found = {
            "words": weights.words * self.words(network, features.merged, labels),
            "things": weights.things * self.things(features.merged, labels),
        }
        if early is None:
            return {**found, "patches": weights.patches * self.patches(features.patches.flatten(0, 1), labels)}
        return {**found, "places": weights.places * self.places(early)}

    def patches(self, states: Tensor, labels: Labels) -> Tensor:
        """Cross-entropies of the names, squared errors of the rest where there is a thing."""
        shape, colour, rest = self.patch(states).float().split([_SHAPES, _COLOURS, 4], dim=-1)
        named = F.cross_entropy(shape, labels.shapes) + F.cross_entropy(colour, labels.colours)
        covered = labels.shapes < _SHAPES - 1
        return named + F.mse_loss(rest[covered], labels.rest[covered])

    def words(self, network: Any, merged: Tensor, labels: Labels) -> Tensor:
        """Cross-entropy of the words among themselves and nothing, by their products with the feature."""
        table = network.get_input_embeddings().weight
        normed = F.rms_norm(merged.float(), merged.shape[-1:])
        found = torch.zeros(())
        for shapes, colours in self.groups:
            for ids, wanted in ((shapes, labels.merged_shapes), (colours, labels.merged_colours)):
                logits = F.pad(normed @ table[ids].T, (0, 1))  # the ground is no word
                found = found + F.cross_entropy(logits, wanted) / len(self.groups)
        return found

    def things(self, merged: Tensor, labels: Labels) -> Tensor:
        """Squared errors where there is a thing."""
        found = self.thing(merged).float().unflatten(-1, (MERGE**2, 4)).flatten(0, 1)
        covered = labels.shapes < _SHAPES - 1
        return F.mse_loss(found[covered], labels.rest[covered])

    def places(self, early: Tensor) -> Tensor:
        """Squared error of row and column, from -1 to 1."""
        _, rows, columns = torch.from_numpy(grid_axes(self.grid)).float()
        height, width = self.grid
        wanted = torch.stack([2 * rows / (height - 1) - 1, 2 * columns / (width - 1) - 1], -1)
        found = self.place(early).float().unflatten(0, (-1, len(wanted)))
        return F.mse_loss(found, wanted.expand_as(found))


def word_groups(tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """The first tokens of the names of shapes and of colours: as answers begin, and after a space."""

    def first(words: Sequence[str]) -> list[int]:
        return [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]

    return [(first([lead + w for w in SHAPE_NAMES]), first([lead + w for w in COLOUR_NAMES])) for lead in ("", " ")]
