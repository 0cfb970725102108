"""What SAM and SAM 2 have in common, and SAM as this: a picture is looked at once, and asked about as often as one likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.network import Sam

_ELSEWHERE = ("_name_or_path", "architectures", "dtype")  # of a configuration: says nothing of what a model sees


class Square(Protocol):
    """Where a picture lies in the square that a network reads; see `Frame`, whose methods these are."""

    def pixels(self, image: NDArray[np.uint8]) -> Tensor: ...

    def scaled(self, xy: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def restored(self, low: Tensor) -> Tensor: ...


class Network(Protocol):
    """A SAM of either kind, in evaluation mode.

    digest: of its weights and of how it looks at pictures, hex. shapes: of what `look` gives.
    """

    digest: str
    shapes: tuple[tuple[int, ...], ...]

    def frame(self, height: int, width: int) -> Square:
        """Where a picture of that size lies in its square."""

    def look(self, pixels: Tensor) -> list[Tensor]:
        """Embeddings, float32 on the CPU, of what `Square.pixels` makes of a picture."""

    def ask(
        self, looked: Sequence[Tensor], points: Tensor, labels: Tensor, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Three masks of one thing, on the CPU: logits, float32 [3, h, w] of the square, and predicted IoU, float32 [3].

        points: float32 [1, n, 2], (x, y) in the square's pixels. labels: int64 [1, n], 1 inside, 0 outside. boxes: float32
        [1, 4], (x, y) of two corners, or None.
        """


class FirstSam:
    """SAM (Kirillov et al., 2023), as it also refines masks."""

    def __init__(self, sam: Sam) -> None:
        self._sam = sam
        config = sam.model.config
        side = config.prompt_encoder_config.image_embedding_size
        self.shapes: tuple[tuple[int, ...], ...] = ((1, config.vision_config.output_channels, side, side),)
        self.digest = model_digest(sam.model)

    def frame(self, height: int, width: int) -> Frame:
        return Frame(height, width, self._sam.image_size, self._sam.prior_side)

    def look(self, pixels: Tensor) -> list[Tensor]:
        return [self._sam.embed(pixels).float().cpu()]

    def ask(
        self, looked: Sequence[Tensor], points: Tensor, labels: Tensor, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        embedding = looked[0].to(self._sam.model.device)
        low, iou = self._sam.predict(embedding, None, points, labels, boxes, multimask=True)
        return low[0], iou[0]


def model_digest(model: Any) -> str:
    """BLAKE3, hex, of a model's weights, of the settings of its vision tower, and of the library's version: of all that
    decides what it sees in a picture. Neither the place that it was read from nor its device are in it.
    """
    digest = blake3(msgspec.json.encode(_plain(model.config.vision_config.to_dict()), order="sorted"))
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(settings: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): _plain(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in _ELSEWHERE
    }
