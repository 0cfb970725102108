"""SAM's two halves as the refiner uses them, whichever library holds the weights."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Network(Protocol):
    """A SAM.

    Attributes:
        image_size: pixels of the square input.
        prior_side: cells of the square of mask prompts and of its answers.
    """

    image_size: int
    prior_side: int

    def embed(self, pixels: Tensor) -> Tensor:
        """The embedding of a picture: float [1, C, h, w] on the network's device.

        Args:
            pixels: float32 [1, 3, image_size, image_size], as `Frame.pixels` makes them.
        """

    def predict(
        self, embedding: Tensor, priors: Tensor, points: Tensor, labels: Tensor, boxes: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Masks for B prompts about one picture.

        Args:
            embedding: [1, C, h, w].
            priors: float32 [B, prior_side, prior_side], logits.
            points: float32 [B, n, 2], (x, y) in the input's pixels.
            labels: int64 [B, n], 1 inside, 0 outside.
            boxes: float32 [B, 4], (x, y) of two corners in the input's pixels, or None.
            multimask: three masks per prompt instead of one.

        Returns:
            Logits, float32 [B, 1 or 3, prior_side, prior_side], and predicted IoU, float32 [B, 1 or 3], on the CPU.
        """
