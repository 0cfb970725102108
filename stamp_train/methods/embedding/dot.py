"""The embedding against the vision tower's own features, 7 pixels each: no other network, no picture read twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Grid = tuple[int, int]


class DotHead(nn.Module):
    """Logits of a mask's cells are products of its embedding and theirs, over the square root of the width.

    Cells are quarters of the tower's 14-pixel patches, so that a merged patch has 4 x 4 of them.
    """

    side = 4

    def __init__(self, hidden_size: int, vision_size: int, width: int) -> None:
        super().__init__()
        self.state = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, width))
        # The tower ends unnormalised: its own merger begins with a norm too.
        self.pixels = nn.Sequential(
            nn.LayerNorm(vision_size), nn.Linear(vision_size, width), nn.GELU(), nn.Linear(width, 4 * width)
        )
        self.scale = 1 / math.sqrt(width)

    def cells(self, patches: Tensor, grid: Grid) -> Tensor:
        """Features [4h, 4w, width] of one picture's cells, from those of its patches before the merge, [h * w, 4, E]."""
        height, width = grid
        # Both fours are 2 x 2, row by row: patches in the merged one, cells in the patch.
        cells = self.pixels(patches).reshape(height, width, 2, 2, 2, 2, -1)
        return cells.permute(0, 2, 4, 1, 3, 5, 6).reshape(4 * height, 4 * width, -1)

    def forward(self, states: Tensor, cells: Tensor) -> Tensor:
        """Logits [masks, 4h, 4w] of masks of one picture, from the states [masks, H] that stand for them."""
        return torch.einsum("mc,hwc->mhw", self.state(states), cells) * self.scale
