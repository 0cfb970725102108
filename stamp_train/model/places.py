"""Where in its picture each merged patch lies, said to the language model by a vector that is added to its feature.

Rotary positions enter attention only: they say how far two tokens lie apart, and a token does not know its own. The paper
(section 3.2) has a mask token carry "the positional embedding that specifies the patch's location in the original image
grid".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WAVES = (
    4  # of a quarter turn per picture, of two quarters, ...: smooth along the whole picture, down to an eighth of it
)


class Places(nn.Linear):
    """A learned map of waves along both axes.

    Args:
        hidden: width of the language model.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__(4 * _WAVES, hidden, bias=False)

    def forward(self, image_grid_thw: Tensor) -> Tensor:
        """Vectors of all merged patches, row by row per image: [N, hidden].

        Args:
            image_grid_thw: int64 [I, 3], in 14-pixel patches.
        """
        waves = torch.cat([_waves(int(height) // 2, int(width) // 2) for _, height, width in image_grid_thw.tolist()])
        # Rows of length 1, times the root of the width: as large as a hidden state that such weights make.
        return super().forward(waves.to(self.weight) / (2 * _WAVES) ** 0.5 * self.out_features**0.5)


def _waves(height: int, width: int) -> Tensor:
    """Sines and cosines of the middle of each patch, as shares of height and width: float32 [height * width, 4 * _WAVES]."""
    places = torch.cartesian_prod((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width)
    angles = places[:, :, None] * (torch.pi / 2 * torch.arange(1, _WAVES + 1))
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
