"""From pixel values back to the pictures that they were made of, for readouts that look for themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from stamp_train.backbones.contract import Backbone

# Of Qwen2-VL, which has them from CLIP.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def pictures(backbone: Backbone, pixel_values: Tensor, image_grid_thw: Tensor) -> list[Tensor]:
    """Pictures float [3, height, width], 0 to 1, as the image processor has resized them.

    pixel_values, image_grid_thw: of all images, see `StampInputs`.
    """
    grids = image_grid_thw[:, 1:].tolist()
    options = backbone.image_options
    constants = options.get("image_mean", _MEAN), options.get("image_std", _STD)
    parts = torch.split(pixel_values.float(), [height * width for height, width in grids])
    mean, std = (torch.tensor(values, device=pixel_values.device).reshape(3, 1, 1) for values in constants)
    return [
        _picture(part, height, width, backbone.patch) * std + mean
        for part, (height, width) in zip(parts, grids, strict=True)
    ]


def _picture(values: Tensor, height: int, width: int, patch: int) -> Tensor:
    """One picture [3, pixels, pixels] of patches in the order of merge blocks, each with its two equal frames."""
    parts = values.reshape(height // 2, width // 2, 2, 2, 3, 2, patch, patch)[:, :, :, :, :, 0]
    return parts.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, height * patch, width * patch)
