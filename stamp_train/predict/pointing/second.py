"""SAM 2 (Ravi et al., 2024) as transformers has it, for single pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stamp_train.predict.pointing.network import model_digest
from stamp_train.predict.refine.frame import normalised
from stamp_train.predict.refine.network import weights_of
from stamp_train.sequence.environment import hide_broken_torchvision

hide_broken_torchvision()
from transformers import Sam2Config, Sam2Model  # noqa: E402 - only once torchvision cannot break it

KINDS = ("sam2", "sam2_video")  # the released folders are called by the second; what remembers frames is not read


@dataclass(frozen=True)
class Stretched:
    """A picture of `height` x `width` pixels, drawn out to a square of `side` pixels (`SAM2Transforms` of its authors)."""

    height: int
    width: int
    side: int

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """What the network reads of an RGB image, uint8 [height, width, 3]: float32 [1, 3, side, side], normalised."""
        resized = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR)
        return normalised(np.asarray(resized))

    def scaled(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (x, y) in the picture's pixels, [..., 2], in the square's pixels."""
        scaled: NDArray[np.float64] = xy * np.array([self.side / self.width, self.side / self.height])
        return scaled

    def restored(self, low: Tensor) -> Tensor:
        """Logits of the square, [n, h, w], as logits of the picture, float [n, height, width]."""
        return F.interpolate(low[None], size=(self.height, self.width), mode="bilinear", align_corners=False)[0]


class SecondSam:
    """See `Network`. Of its three embeddings the first two have the finer grids that masks are drawn on."""

    def __init__(self, model: Any) -> None:
        self._model = model
        vision, hidden = model.config.vision_config, model.config.mask_decoder_config.hidden_size
        channels = (hidden // 8, hidden // 4, hidden)
        self._side: int = model.config.prompt_encoder_config.image_size
        self.shapes: tuple[tuple[int, ...], ...] = tuple(
            (1, count, *size) for count, size in zip(channels, vision.backbone_feature_sizes, strict=True)
        )
        self.digest = model_digest(model)

    def frame(self, height: int, width: int) -> Stretched:
        return Stretched(height, width, self._side)

    @torch.inference_mode()
    def look(self, pixels: Tensor) -> list[Tensor]:
        found = self._model.get_image_embeddings(pixels.to(self._model.device))
        return [one.float().cpu() for one in found]

    @torch.inference_mode()
    def ask(
        self, looked: Sequence[Tensor], points: Tensor, labels: Tensor, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        device, some = self._model.device, points.shape[1] > 0
        output = self._model(
            image_embeddings=[one.to(device) for one in looked],
            input_points=points[:, None].to(device) if some else None,
            input_labels=labels[:, None].to(device) if some else None,
            input_boxes=None if boxes is None else boxes[:, None].to(device),
            multimask_output=True,
        )
        return output.pred_masks[0, 0].float().cpu(), output.iou_scores[0, 0].float().cpu()


def open_second(path: str, config: Any, device: torch.device) -> SecondSam:
    """The SAM 2 of a folder, or of the Hugging Face cache, with its configuration. RefinerFault if its weights do not fit."""
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    settings: dict[str, Any] = {part: getattr(config, part).to_dict() for part in parts}
    model = weights_of(Sam2Model, path, Sam2Config(**settings))
    return SecondSam(model.to(device).eval())
