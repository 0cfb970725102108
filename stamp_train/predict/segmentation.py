"""What a model says about a picture, and the masks that it draws on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stamp_data.draw.overlay import with_masks
from stamp_schemas import UsageFault


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What the model says and draws.

    text: what is meant to be read; content: the same with `<|seg|>`, `<|yes|>` and `<|no|>` in their places. masks: for each
    `<|seg|>` in order, bool [height, width] of the picture; probabilities: for each float32 [height, width], foreground above
    0.5, before any refinement; logits: for each float32 [h, w] on the patch grid, foreground above 0. image: RGB, what the
    masks lie on (files are turned upright); None without one. finish: `stop`, `length` when a limit ended the answer, or
    `stopped`. forced: the model said no `<|seg|>` by itself; the mask was asked for all the same. refined: a refiner has
    redrawn every mask; False where there is none. question: what was asked, in a conversation. said: the answer as the model
    wrote it, where it has ended; with masks in words, where they are written.
    """

    text: str
    content: str
    masks: tuple[NDArray[np.bool_], ...]
    probabilities: tuple[NDArray[np.float32], ...]
    logits: tuple[NDArray[np.float32], ...]
    image: Image.Image | None
    finish: str
    forced: bool = False
    refined: bool = False
    question: str = ""
    said: str = ""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the picture in pixels."""
        return None if self.image is None else (self.image.height, self.image.width)

    def overlay(self) -> Image.Image:
        """The picture with the masks drawn over it, a colour for each. UsageFault if there is no picture."""
        if self.image is None:
            raise UsageFault("an answer without a picture has no overlay")
        return with_masks(self.image, self.masks)
