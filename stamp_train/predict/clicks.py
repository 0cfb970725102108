"""Masks of what somebody points at, by SAM: for annotating."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor

from stamp_schemas import UsageFault
from stamp_train.predict.refine.faults import RefinerFault
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.network import Sam, open_sam

EMBEDDINGS = 8  # pictures whose embedding is kept: 4 MB each of the released models


class SamClicks:
    """Three masks, the best first, of places in a picture. What looking at a picture takes, it takes once."""

    def __init__(self, network: Sam) -> None:
        self._network = network
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(
        self, pixels: NDArray[np.uint8], inside: Sequence[tuple[float, float]], outside: Sequence[tuple[float, float]],
        box: Sequence[tuple[float, float]],
    ) -> list[NDArray[np.bool_]]:  # fmt: skip
        """Masks, bool [height, width], of what holds the places `inside` and none of those `outside`.

        pixels: uint8 [height, width, 3] RGB. Places are (x, y) in its pixels; box: two corners around it, or nothing.
        """
        height, width, _ = pixels.shape
        frame = Frame(height, width, self._network.image_size, self._network.prior_side)
        points = frame.scaled(np.array([*inside, *outside], np.float64).reshape(1, -1, 2))
        labels = torch.tensor([[1] * len(inside) + [0] * len(outside)])
        corners = frame.scaled(np.sort(np.array(box, np.float64), axis=0)).reshape(1, 4) if len(box) else None
        low, iou = self._network.predict(
            self._embed(pixels, frame),
            None,
            torch.from_numpy(points).float(),
            labels,
            None if corners is None else torch.from_numpy(corners).float(),
            multimask=True,
        )
        order = iou[0].argsort(descending=True)
        return [(frame.restored(low[0, number][None])[0] > 0).numpy() for number in order]

    def prepare(self, pixels: NDArray[np.uint8]) -> None:
        """Look at a picture before anybody asks about it."""
        height, width, _ = pixels.shape
        self._embed(pixels, Frame(height, width, self._network.image_size, self._network.prior_side))

    def _embed(self, pixels: NDArray[np.uint8], frame: Frame) -> Tensor:
        key = f"{blake3(np.ascontiguousarray(pixels).data).hexdigest()} {frame.height}"
        if key not in self._embeddings:
            self._embeddings[key] = self._network.embed(frame.pixels(pixels))
        self._embeddings.move_to_end(key)
        while len(self._embeddings) > EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return self._embeddings[key]


def open_clicks(spec: str, device: torch.device) -> SamClicks:
    """SAM by a specification, `sam=PATH`: an official file, a Hugging Face folder, or a model in its cache.

    Nothing is downloaded. UsageFault if it cannot be had.
    """
    kind, _, path = spec.partition("=")
    if kind != "sam" or not path:
        raise UsageFault(f"--assist {spec}: no such help", "--assist sam=PATH")
    try:
        return SamClicks(open_sam(path, device))
    except RefinerFault as fault:
        hint = fault.hint.replace("sam:PATH", "sam=PATH")
        raise UsageFault(f"--assist {spec}: {fault.message}", hint) from None
