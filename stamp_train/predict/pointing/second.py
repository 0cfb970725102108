"""SAM 2 (Ravi et al., 2024) as transformers has it, for single pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.network import Sam, weights_of
from stamp_train.sequence.environment import hide_broken_torchvision

hide_broken_torchvision()
from transformers import Sam2Config, Sam2Model  # noqa: E402 - only once torchvision cannot break it

KINDS = ("sam2", "sam2_video")  # the released folders are called by the second; what remembers frames is not read


@dataclass(frozen=True)
class Stretched(Frame):
    """A picture drawn out to the square (`SAM2Transforms` of its authors), which has no padding then."""

    @property
    def resized(self) -> tuple[int, int]:
        """All of the square."""
        return self.side, self.side

    def restored(self, low: Tensor) -> Tensor:
        """Logits of the square, [n, h, w], as logits of the picture, float [n, height, width], in one step."""
        return F.interpolate(low[None], size=(self.height, self.width), mode="bilinear", align_corners=False)[0]


class SecondSam(Sam):
    """See `Sam`. Of its three embeddings the first two have the finer grids that masks are drawn on."""

    def __init__(self, model: Any) -> None:
        self.model, config = model, model.config
        hidden, sizes = config.mask_decoder_config.hidden_size, config.vision_config.backbone_feature_sizes
        self.image_size, self.prior_side = config.prompt_encoder_config.image_size, sizes[0][0]
        channels = (hidden // 8, hidden // 4, hidden)
        self.shapes = tuple((1, count, *size) for count, size in zip(channels, sizes, strict=True))

    def frame(self, height: int, width: int) -> Stretched:
        """See `Stretched`."""
        return Stretched(height, width, self.image_size, self.prior_side)


def open_second(path: str, config: Any, device: torch.device) -> SecondSam:
    """The SAM 2 of a folder, or of the Hugging Face cache, with its configuration. RefinerFault if its weights do not fit."""
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    settings: dict[str, Any] = {part: getattr(config, part).to_dict() for part in parts}
    model = weights_of(Sam2Model, path, Sam2Config(**settings))
    return SecondSam(model.to(device).eval())
