"""The embedding against the vision tower's own features, 7 pixels each: no other network, no picture read twice."""

from __future__ import annotations

import math
from itertools import groupby

import torch
from torch import Tensor, nn

from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import Grid
from stamp_train.sequence.inputs import Reading

SIDE = 4  # cells per side of a merged patch


class DotHead(Readout):
    """Logits of a mask's cells are products of its embedding and theirs, over the square root of the width.

    A cell is a quarter of one of the tower's patches.
    """

    def __init__(self, hidden_size: int, vision_size: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.state = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, width))
        # The tower ends unnormalised: its own merger begins with a norm too.
        self.pixels = nn.Sequential(
            nn.LayerNorm(vision_size), nn.Linear(vision_size, width), nn.GELU(), nn.Linear(width, 4 * width)
        )

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """`masks`: logits of all masks' cells, one mask after another, row by row."""
        prompts, patches = self.state(reading.states), reading.features.patches.to(reading.states.dtype)
        logits = [self.products(prompts[:0], self.cells(patches[:0], (0, 0)))]  # every weight takes part, masks or none
        begin = 0
        for document, places in groupby(place.seg.document for place in reading.masks):
            end = begin + len(list(places))
            rows = slice(document.first_row, document.first_row + document.patches)
            logits.append(self.products(prompts[begin:end], self.cells(patches[rows], document.grid)))
            begin = end
        return {"masks": torch.cat([part.flatten() for part in logits])}

    def cells(self, patches: Tensor, grid: Grid) -> Tensor:
        """Features [4h, 4w, width] of one image's cells, from those of its patches before the merge, [h * w, 4, E]."""
        height, width = grid
        # Both fours are 2 x 2, row by row: patches in the merged one, cells in the patch.
        cells: Tensor = self.pixels(patches)
        cells = cells.reshape(height, width, 2, 2, 2, 2, self.width)
        return cells.permute(0, 2, 4, 1, 3, 5, 6).reshape(SIDE * height, SIDE * width, self.width)

    def products(self, prompts: Tensor, cells: Tensor) -> Tensor:
        """Logits [masks, 4h, 4w] of masks of one image."""
        logits: Tensor = torch.einsum("mc,hwc->mhw", prompts, cells)
        return logits / math.sqrt(self.width)
