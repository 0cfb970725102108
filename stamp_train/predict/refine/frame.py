"""Where a picture lies in SAM's square input: longest side scaled to fill it, the rest padded right or below.

The network reads `side` pixels (1024 in the released models) and draws its masks, and takes a mask prompt, on a coarser
square of `prior_side` cells (256) that covers the same frame, padding included (Kirillov et al., 2023, appendix A;
segment-anything's `ResizeLongestSide` and `Sam.preprocess`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, as SAM was trained


@dataclass(frozen=True)
class Frame:
    """A picture of `height` x `width` pixels in a square of `side` pixels and `prior_side` cells."""

    height: int
    width: int
    side: int
    prior_side: int

    @property
    def resized(self) -> tuple[int, int]:
        """Height and width of the picture within the square, in its pixels."""
        scale = self.side / max(self.height, self.width)
        return max(int(self.height * scale + 0.5), 1), max(int(self.width * scale + 0.5), 1)

    @property
    def inside(self) -> Tensor:
        """Cells of the prompt's square whose centre lies in the picture: bool [prior_side, prior_side]."""
        y, x = self._centres
        return (y < 1)[:, None] & (x < 1)

    @property
    def _centres(self) -> tuple[Tensor, Tensor]:
        """Centres of rows and columns of cells as fractions of the picture's sides, above 1 in the padding."""
        height, width = self.resized
        centres = (torch.arange(self.prior_side, dtype=torch.float64) + 0.5) * (self.side / self.prior_side)
        return centres / height, centres / width

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """What the network reads of an RGB image, uint8 [height, width, 3]: float32 [1, 3, side, side], normalised, zero in the
        padding."""
        height, width = self.resized
        resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        return F.pad(normalised(resized), (0, self.side - width, 0, self.side - height))

    def scaled(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (x, y) in the picture's pixels, [..., 2], in the square's pixels."""
        height, width = self.resized
        scaled: NDArray[np.float64] = xy * np.array([width / self.width, height / self.height])
        return scaled

    def place(self, picture: Tensor, fill: float) -> Tensor:
        """A coarse map of the whole image, float [h, w] on any grid, where a mask prompt has that content: read bilinearly at
        the cells' centres, `fill` where they lie in the padding; float32 [prior_side, prior_side]."""
        y, x = self._centres
        where = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return read_at(picture, where).masked_fill(~self.inside, fill).float()

    def restored(self, low: Tensor) -> Tensor:
        """Logits on the prompt's grid, [..., prior_side, prior_side] with a dimension before, as logits of the picture,
        float [..., height, width], padding cut off."""
        flat = low.reshape(-1, 1, *low.shape[-2:])
        full = F.interpolate(flat, size=(self.side, self.side), mode="bilinear", align_corners=False)
        height, width = self.resized
        cut = full[..., :height, :width]
        whole = F.interpolate(cut, size=(self.height, self.width), mode="bilinear", align_corners=False)
        return whole.reshape(*low.shape[:-2], self.height, self.width)


def read_at(picture: Tensor, where: Tensor) -> Tensor:
    """Bilinear values, float64 [...], of a picture [h, w] at positions (x, y) that are fractions of its sides, [..., 2]."""
    grid = (2 * where - 1).reshape(1, 1, -1, 2)
    read = F.grid_sample(
        picture.double()[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return read.reshape(where.shape[:-1])


def normalised(image: NDArray[np.uint8]) -> Tensor:
    """An RGB image, uint8 [height, width, 3], as both kinds of SAM read it: float32 [1, 3, height, width]."""
    pixels = (torch.from_numpy(image.copy()).float() - torch.tensor(_MEAN)) / torch.tensor(_STD)
    return pixels.permute(2, 0, 1)[None]
