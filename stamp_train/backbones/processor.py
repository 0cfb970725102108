"""Images to pixel values and back: transformers' PIL processor for Qwen's models, composed with the chat encoder by ourselves.

transformers' own processors of them cannot be built without torchvision (their video part needs it), and the default image
backend depends on what is installed, with other resampling. Here the backend is always PIL, and is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stamp_train.backbones.contract import Backbone
from stamp_train.backbones.folder import read_told
from stamp_train.backbones.qwen2_vl import QWEN2_VL
from stamp_train.backbones.registry import backbone_of
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.document import MERGE
from stamp_train.sequence.errors import StampModelError, reading

RECORD_FILE = "stamp_processor.json"
_FRAMES = 2  # that the towers take at a time: a still image is there twice
_MOST_TOKENS = 1 << 17  # merged patches of an image, beyond what any model takes
# Of Qwen2-VL, which has them from CLIP.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def open_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a checkpoint. StampModelError: it is missing or damaged."""
    with reading(path):
        return AutoTokenizer.from_pretrained(path)


def make_images(backbone: Backbone, least: int, most: int) -> Qwen2VLImageProcessorPil:
    """The image processor of a family with these bounds of merged patches."""
    area = backbone.factor**2
    return Qwen2VLImageProcessorPil(min_pixels=least * area, max_pixels=most * area, **backbone.image_options)


def open_images(path: str | Path, backbone: Backbone = QWEN2_VL) -> Qwen2VLImageProcessorPil:
    """The image processor of a checkpoint; StampModelError if it is missing or damaged, or no image could be read by it."""
    fixed = {"patch_size": backbone.patch, "merge_size": MERGE, "temporal_patch_size": _FRAMES}
    area, side = backbone.factor**2, 2 * backbone.factor
    with reading(path):
        images = Qwen2VLImageProcessorPil.from_pretrained(path)
        odd = {name: getattr(images, name) for name, value in fixed.items() if getattr(images, name) != value}
        least, most = images.size["shortest_edge"], images.size["longest_edge"]
        if odd or not 0 < least <= most <= _MOST_TOKENS * area:
            raise ValueError(f"no image processor of {backbone.name}: {odd or f'images of {least} to {most} pixels'}")
        edges = {"shortest_edge": 4 * area, "longest_edge": 4 * area}
        with np.errstate(all="ignore"):  # what is not finite is refused
            tried = images(images=[Image.new("RGB", (side, side))], return_tensors="pt", size=edges)["pixel_values"]
        if tried.shape != (4 * MERGE**2, 3 * _FRAMES * backbone.patch**2) or not bool(tried.isfinite().all()):
            found = f"an image gives {tuple(tried.shape)} numbers, or infinite ones"
            raise ValueError(f"no image processor of {backbone.name}: {found}")
    return images


@dataclass(frozen=True)
class PixelBatch:
    """One image as the vision tower takes it: float32 [patches, channels * time * side * side] and its grid of patches before
    the merge (time, height, width)."""

    pixel_values: Tensor
    grid_thw: tuple[int, int, int]


class StampProcessor:
    """Tokenizer and image processor of a checkpoint.

    tokenizer: a fast one with the added tokens. image_processor: by default with 1024 to 1280 merged patches, as published for
    training. backbone: the family of models.
    """

    def __init__(
        self, tokenizer: Any, image_processor: Qwen2VLImageProcessorPil | None = None, backbone: Backbone = QWEN2_VL
    ) -> None:
        self.chat, self.backbone = ChatEncoder(tokenizer, backbone.chat), backbone
        self.image_processor = image_processor or make_images(backbone, 1024, 1280)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.chat.tokenizer

    @property
    def backend(self) -> dict[str, str]:
        """What turned images into numbers, for checkpoints and results: backends differ by about 0.3 %."""
        return {"image_backend": "pil", "pillow": version("pillow"), "transformers": version("transformers")}

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and most merged patches of an image."""
        size, area = self.image_processor.size, self.backbone.factor**2
        return size["shortest_edge"] // area, size["longest_edge"] // area

    def bound(self, least: int | None = None, most: int | None = None) -> None:
        """Put other bounds on the merged patches of an image; None keeps the one that there is."""
        size, area = self.image_processor.size, self.backbone.factor**2
        edges = {
            "shortest_edge": size["shortest_edge"] if least is None else least * area,
            "longest_edge": size["longest_edge"] if most is None else most * area,
        }
        self.image_processor.size = edges if isinstance(size, dict) else type(size)(**edges)

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: Backbone | None = None) -> StampProcessor:
        """Open the processor of a checkpoint, whatever image backend it was saved with.

        backbone: of a folder without the configuration of a model, such as one with an adapter.
        """
        family = backbone or backbone_of(read_told(path).model_type)
        return cls(open_tokenizer(path), open_images(path, family), family)

    def save_pretrained(self, path: str | Path) -> None:
        """Save both parts beside a checkpoint, and which backend they are; a tokenizer without a chat template gets one."""
        if not self.tokenizer.chat_template:
            self.tokenizer.chat_template = self.chat.layout.template
        self.tokenizer.save_pretrained(path)
        self.image_processor.save_pretrained(path)
        Path(path, RECORD_FILE).write_text(json.dumps(self.backend, indent=2) + "\n", encoding="utf-8")

    def images(self, images: Sequence[Any]) -> list[PixelBatch]:
        """Resize, normalise and cut images (PIL, RGB) into patches; StampModelError for one that the models cannot take (sides
        more than 200 to 1, no pixels)."""
        found = []
        for number, image in enumerate(images):
            try:
                batch = self.image_processor(images=[image], return_tensors="pt")
            except ValueError as error:
                raise StampModelError(str(error), where=f"image {number}") from error
            time, height, width = batch["image_grid_thw"][0].tolist()
            found.append(PixelBatch(batch["pixel_values"].to(torch.float32), (time, height, width)))
        return found


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
