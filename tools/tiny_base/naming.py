"""What the network learns beside answers, at every patch: what is seen there. The layers for it are thrown away at the end.

Answers alone teach a random network slowly: words choose between what the tower tells apart, and the tower learns to tell
apart what words choose between. So five losses say it directly:

`patches`  of every patch of 14 pixels, a layer on the tower: shape, color, also of each quarter, and how much of that shows
           things, where the middle of the thing is, how large it is
`words`    of every merged patch, no layer: the feature that the language model is given looks like the embeddings of its words
`things`   of every merged patch, a layer: middle and size of the things at its four patches
`places`   after the first layer of the language model: row and column, which rotary positions say only by distances, by a
           layer and by words
`boxes`    after the last layer, where things are spoken of: their boxes, as published bases have learned to say. Of a question
           behind the picture by the state that begins the answer, as fractions of the picture, if it is one; by every token of
           the picture that has seen the question, as distances from there to the four edges of the nearest
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
_FAR = 2.0  # parts of the grid: no distance counts as more


@dataclass
class Labels:
    """Of the images of a batch, one after another; see `scenes.Pool` for what they are."""

    shapes: Tensor
    colours: Tensor
    rest: Tensor
    quarters: Tensor
    covered: Tensor
    merged_shapes: Tensor
    merged_colours: Tensor


@dataclass(frozen=True)
class Words:
    """Ids of the first tokens of the names of shapes, of colours, of (top, bottom) and of (left, right)."""

    shapes: list[int]
    colours: list[int]
    rows: list[int]
    columns: list[int]


class Naming(nn.Module):
    """Losses by name, each a mean. words: as they begin an answer, and as they stand in a sentence. grid: merged patches."""

    def __init__(self, vision_width: int, hidden: int, words: Sequence[Words], grid: Grid) -> None:
        super().__init__()
        self.patch = nn.Sequential(nn.LayerNorm(vision_width), nn.Linear(vision_width, _SHAPES + _COLOURS + 4))
        self.thing = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4 * MERGE**2))
        self.place = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 2))
        self.quarter = nn.Sequential(nn.LayerNorm(vision_width), nn.Linear(vision_width, 4 * _COLOURS))
        self.box = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4))
        self.edges = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 4))
        self.covered = nn.Sequential(nn.LayerNorm(vision_width), nn.Linear(vision_width, 4))
        self.spoken = words
        self.grid = grid

    def forward(
        self, network: Any, features: ImageFeatures, early: Tensor | None, labels: Labels, weights: Losses
    ) -> dict[str, Tensor]:
        """Weighted losses. early: see `network.Seen`; None where only the tower has run, and places are not asked for."""
        found = {
            "words": weights.words * self.words(network, features.merged, labels),
            "things": weights.things * self.things(features.merged, labels),
            "patches": weights.patches * self.patches(features.patches.flatten(0, 1), labels),
        }
        return found if early is None else {**found, "places": weights.places * self.places(network, early)}

    def patches(self, states: Tensor, labels: Labels) -> Tensor:
        """Cross-entropies of the names, squared errors of the rest where there is a thing."""
        shape, colour, rest = self.patch(states).float().split([_SHAPES, _COLOURS, 4], dim=-1)
        named = F.cross_entropy(shape, labels.shapes) + F.cross_entropy(colour, labels.colours)
        named = named + F.cross_entropy(
            self.quarter(states).float().unflatten(-1, (4, -1)).transpose(1, 2), labels.quarters
        )
        named = named + F.binary_cross_entropy_with_logits(self.covered(states).float(), labels.covered)
        covered = labels.shapes < _SHAPES - 1
        return named + _squared(rest[covered], labels.rest[covered])

    def words(self, network: Any, merged: Tensor, labels: Labels) -> Tensor:
        """Cross-entropies of shape and color; the ground is no word."""
        found = torch.zeros(())
        for words in self.spoken:
            for ids, wanted in ((words.shapes, labels.merged_shapes), (words.colours, labels.merged_colours)):
                found = found + _likeness(network, merged, ids, wanted) / len(self.spoken)
        return found

    def things(self, merged: Tensor, labels: Labels) -> Tensor:
        """Squared errors where there is a thing."""
        found = self.thing(merged).float().unflatten(-1, (MERGE**2, 4)).flatten(0, 1)
        covered = labels.shapes < _SHAPES - 1
        return _squared(found[covered], labels.rest[covered])

    def places(self, network: Any, early: Tensor) -> Tensor:
        """Squared error of row and column, from -1 to 1, and cross-entropies of their words; the middle third is no word."""
        _, rows, columns = torch.from_numpy(grid_axes(self.grid)).float()
        wanted = torch.stack(
            [2 * (at + 0.5) / size - 1 for at, size in zip((rows, columns), self.grid, strict=True)], -1
        )
        wanted = wanted.repeat(len(early) // len(wanted), 1)
        found = _squared(self.place(early).float(), wanted)
        thirds = torch.where(wanted < -1 / 3, 0, torch.where(wanted > 1 / 3, 1, 2))
        for words in self.spoken:
            for ids, third in zip((words.rows, words.columns), thirds.unbind(-1), strict=True):
                found = found + _likeness(network, early, ids, third) / len(self.spoken)
        return found

    def boxes(self, begun: Tensor, boxes: Tensor) -> Tensor:
        """Squared error of boxes [K, 4], by the states [K, H] that begin the answers."""
        return _squared(self.box(begun).float(), boxes)

    def distances(self, pictures: Tensor, boxes: Tensor) -> Tensor:
        """Squared error of the distances from every token of the pictures, [Q, P, H], to the edges of the nearest of boxes
        [Q, K, 4]: in parts of the grid, positive inwards, none beyond `_FAR`, as which counts that there is none."""
        _, rows, columns = torch.from_numpy(grid_axes(self.grid)).float()[:, None, :, None] + 0.5
        size = torch.tensor([self.grid[1], self.grid[0]] * 2)
        left, top, right, bottom = (boxes * size)[:, None].unbind(-1)
        edges = torch.stack([columns - left, rows - top, right - columns, bottom - rows], -1)  # [Q, P, K, 4]
        nearest = edges.amin(-1).nan_to_num(-torch.inf).argmax(-1)[..., None, None].expand(-1, -1, 1, 4)
        wanted = edges.gather(2, nearest)[:, :, 0].nan_to_num(-_FAR).clamp(-_FAR, _FAR)
        return _squared(self.edges(pictures).float(), wanted / _FAR)


def _squared(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error, none where nothing is asked for: the mean of nothing would be no number."""
    return F.mse_loss(found, wanted, reduction="sum") / max(wanted.numel(), 1)


def _likeness(network: Any, states: Tensor, ids: list[int], wanted: Tensor) -> Tensor:
    """Cross-entropy of words among themselves and of none, by the products of their embeddings with states [P, H]."""
    table = network.get_input_embeddings().weight
    logits = F.rms_norm(states.float(), states.shape[-1:]) @ table[ids].T
    return F.cross_entropy(F.pad(logits, (0, 1)), wanted)


def spoken_words(tokenizer: Any) -> list[Words]:
    """As answers begin, and after a space."""

    def first(words: Sequence[str]) -> list[int]:
        return [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]

    kinds = (SHAPE_NAMES, COLOUR_NAMES, ("top", "bottom"), ("left", "right"))
    return [Words(*(first([lead + word for word in kind]) for kind in kinds)) for lead in ("", " ")]
