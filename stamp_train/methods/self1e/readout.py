"""The vision tower's features at their full resolution, refilled with what the language model made of the image, times a query.

In words of SELF1E (arXiv:2603.19026, section 3): refilling of replicated features (RFR), amplification of residuals (RFA),
pixel-unshuffle. Its own unshuffle scrambles grids that are not square; the one here undoes the merge for any grid.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import MERGE, Document, Grid
from stamp_train.sequence.inputs import Reading

SIDE = 4  # cells per side of a merged patch: 7 pixels each, where the tower reads patches of 14


class Planes(NamedTuple):
    """What the tower has seen of an image, in the language model's space: merged [2h, 2w, H] and replicated [4h, 4w, H]."""

    merged: Tensor
    replicated: Tensor


class Self1eHead(Readout):
    """A mask's first row is its query, the others are the states of the image's merged patches, row by row.

    shared: all masks of a document have the same states of the image.
    """

    def __init__(self, hidden_size: int, *, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.states = _layers(hidden_size, MERGE**2 * hidden_size)
        self.features = _layers(hidden_size, MERGE**2 * hidden_size)
        self.last = _layers(hidden_size, hidden_size)

    def begin(self) -> None:
        """By the number of inputs: with transformers' 0.02 a narrow model's products, of two such chains, would be nothing."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """`masks`: logits [4h, 4w] of all masks, one after another, row by row; `low`: at half the resolution, for losses."""
        found, begin = [self.nothing(reading)], 0
        for _, of_image in groupby(reading.masks, key=lambda place: place.seg.document.first_row):
            planes = None
            for document, members in groupby(of_image, key=lambda place: place.seg.document):
                places = list(members)
                planes = planes or self.planes(reading, document)
                end = begin + sum(place.rows for place in places)
                states = reading.states[begin:end].reshape(len(places), -1, reading.states.shape[1])
                found.append(self.logits(states, planes, document.grid))
                begin = end
        return {name: torch.cat([part[at].flatten() for part in found]) for at, name in enumerate(("masks", "low"))}

    def nothing(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """No logits, but every weight takes part, masks or none."""
        merged, patches = (
            part.new_zeros(1, *part.shape[1:]) for part in (reading.features.merged, reading.features.patches)
        )
        states = reading.states.new_zeros(1, 2, reading.states.shape[1])
        fine, low = self.logits(states, self._planes(reading, merged, patches, (1, 1)), (1, 1))
        return fine[:0], low[:0]

    def planes(self, reading: Reading, document: Document) -> Planes:
        """Of one image, the same for all its masks."""
        rows = slice(document.first_row, document.first_row + document.patches)
        return self._planes(reading, reading.features.merged[rows], reading.features.patches[rows], document.grid)

    def _planes(self, reading: Reading, merged: Tensor, patches: Tensor, grid: Grid) -> Planes:
        dtype = reading.states.dtype
        # The merger takes four patches for one token; here it gets the same one four times.
        replicated = reading.merger(patches.flatten(0, 1).repeat_interleave(MERGE**2, dim=0))
        # They come merged patch by merged patch, as the channels of one would.
        tokens = unshuffle(replicated.to(dtype).unflatten(0, (-1, MERGE**2)).flatten(1), grid)
        return Planes(
            unshuffle(self.features(merged.to(dtype)), grid),
            unshuffle(self.features(tokens.flatten(0, 1)), (MERGE * grid[0], MERGE * grid[1])),
        )

    def logits(self, states: Tensor, planes: Planes, grid: Grid) -> tuple[Tensor, Tensor]:
        """Logits [M, 4h, 4w] and [M, 2h, 2w] of masks of one document, from states [M, 1 + h * w, H]."""
        query = self.states(states[:, 0]).unflatten(-1, (MERGE**2, -1)).mean(1)
        query = self.last(query) / math.sqrt(query.shape[-1])
        seen = unshuffle(self.states(states[: 1 if self.shared else None, 1:]), grid)
        residual = (seen - planes.merged).permute(0, 3, 1, 2)
        finer = F.interpolate(residual, scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)
        return _products(self.last(planes.replicated + finer), query), _products(seen, query)


def unshuffle(merged: Tensor, grid: Grid) -> Tensor:
    """Tokens [..., h * w, 4 * C], row by row, as cells [..., 2h, 2w, C]: the inverse of a merge of 2x2, row by row."""
    *rest, _, channels = merged.shape
    height, width = grid
    cells = merged.reshape(*rest, height, width, MERGE, MERGE, channels // MERGE**2)
    return cells.transpose(-4, -3).reshape(*rest, MERGE * height, MERGE * width, -1)


def _products(cells: Tensor, query: Tensor) -> Tensor:
    """[M or 1, h, w, C] with [M, C]: [M, h, w]."""
    return torch.einsum("mhwc,mc->mhw", cells.expand(len(query), -1, -1, -1), query)


def _layers(hidden_size: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, out))
