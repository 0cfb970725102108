"""Images to pixel values: transformers' PIL processor for Qwen2-VL, composed with the chat encoder by ourselves.

transformers' own `Qwen2VLProcessor` cannot be built without torchvision (its video part needs it), and its default image
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

from stamp_train.sequence.chat import TEMPLATE, ChatEncoder
from stamp_train.sequence.errors import StampModelError, reading

RECORD_FILE = "stamp_processor.json"
_PATCH_AREA = 28 * 28  # pixels of a merged patch
_FIXED = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}  # what the layout and the models are built on
_MOST_PIXELS = 1 << 27  # of a picture; 170,000 merged patches, beyond what any model takes


def open_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a checkpoint. StampModelError: it is missing or damaged."""
    with reading(path):
        return AutoTokenizer.from_pretrained(path)


def open_images(path: str | Path, **options: Any) -> Qwen2VLImageProcessorPil:
    """The image processor of a checkpoint. options: to have instead of what is stored.

    StampModelError: it is missing or damaged, or no picture could be read by it.
    """
    with reading(path):
        images = Qwen2VLImageProcessorPil.from_pretrained(path, **options)
        odd = {name: getattr(images, name) for name, value in _FIXED.items() if getattr(images, name) != value}
        least, most = images.size["shortest_edge"], images.size["longest_edge"]
        if odd or not 0 < least <= most <= _MOST_PIXELS:
            raise ValueError(f"no image processor of Qwen2-VL: {odd or f'pictures of {least} to {most} pixels'}")
        edges = {"shortest_edge": 4 * _PATCH_AREA, "longest_edge": 4 * _PATCH_AREA}
        with np.errstate(all="ignore"):  # what is not finite is refused
            tried = images(images=[Image.new("RGB", (56, 56))], return_tensors="pt", size=edges)["pixel_values"]
        if tried.shape != (16, 1176) or not bool(tried.isfinite().all()):
            raise ValueError(
                f"no image processor of Qwen2-VL: a picture gives {tuple(tried.shape)} numbers, or infinite ones"
            )
    return images


@dataclass(frozen=True)
class PixelBatch:
    """One image as the vision tower takes it: float32 [patches, 1176] and its patch grid (time, height, width)."""

    pixel_values: Tensor
    grid_thw: tuple[int, int, int]


class StampProcessor:
    """Tokenizer and image processor of a checkpoint.

    Args:
        tokenizer: a fast tokenizer with the added tokens.
        image_processor: PIL image processor; by default 1024 to 1280 merged patches, as published for training.
    """

    def __init__(self, tokenizer: Any, image_processor: Qwen2VLImageProcessorPil | None = None) -> None:
        self.chat = ChatEncoder(tokenizer)
        self.image_processor = image_processor or Qwen2VLImageProcessorPil(
            min_pixels=1024 * _PATCH_AREA, max_pixels=1280 * _PATCH_AREA
        )

    @property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        return self.chat.tokenizer

    @property
    def backend(self) -> dict[str, str]:
        """What turned images into numbers, for checkpoints and results: backends differ by about 0.3 %."""
        return {"image_backend": "pil", "pillow": version("pillow"), "transformers": version("transformers")}

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, min_tokens: int | None = None, max_tokens: int | None = None
    ) -> StampProcessor:
        """Open the processor of a checkpoint, whatever image backend it was saved with.

        Args:
            path: a folder or a name on the hub.
            min_tokens: least merged patches of an image, instead of the stored bound.
            max_tokens: most merged patches, likewise.
        """
        images = open_images(path)
        bounds = {
            "shortest_edge": images.size["shortest_edge"] if min_tokens is None else min_tokens * _PATCH_AREA,
            "longest_edge": images.size["longest_edge"] if max_tokens is None else max_tokens * _PATCH_AREA,
        }
        images.size = type(images.size)(**bounds) if not isinstance(images.size, dict) else bounds
        with reading(path):
            return cls(open_tokenizer(path), images)

    def save_pretrained(self, path: str | Path) -> None:
        """Save both parts beside a checkpoint, and which backend they are; a tokenizer without a chat template gets one."""
        if not self.tokenizer.chat_template:
            self.tokenizer.chat_template = TEMPLATE
        self.tokenizer.save_pretrained(path)
        self.image_processor.save_pretrained(path)
        Path(path, RECORD_FILE).write_text(json.dumps(self.backend, indent=2) + "\n", encoding="utf-8")

    def images(self, images: Sequence[Any]) -> list[PixelBatch]:
        """Resize, normalise and cut images (PIL, RGB) into patches.

        Raises:
            StampModelError: an image that Qwen2-VL cannot take (sides more than 200 to 1, no pixels).
        """
        found = []
        for number, image in enumerate(images):
            try:
                batch = self.image_processor(images=[image], return_tensors="pt")
            except ValueError as error:
                raise StampModelError(str(error), where=f"image {number}") from error
            time, height, width = batch["image_grid_thw"][0].tolist()
            found.append(PixelBatch(batch["pixel_values"].to(torch.float32), (time, height, width)))
        return found
