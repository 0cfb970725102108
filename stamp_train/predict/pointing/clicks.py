"""Masks of what somebody points at."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor

from stamp_schemas import StampError
from stamp_schemas.errors import first_line
from stamp_train.predict.pointing.embeddings import Embeddings
from stamp_train.predict.refine.network import Sam

IN_MEMORY = 8  # pictures whose embeddings are kept there: 2 MB each of SAM's, 8 MB of SAM 2's
NAMED = 8  # pictures whose digests are kept
Pixels = NDArray[np.uint8]


class SamClicks:
    """Three masks, the best first, of places in a picture. What looking at a picture takes, it takes once.

    Any thread may ask: only looking waits for looking. kept: where embeddings outlive this process. They are rounded to half
    precision, also those that are used at once, so that masks do not depend on where an embedding comes from.
    """

    def __init__(self, network: Sam, kept: Embeddings | None = None) -> None:
        self._network, self._kept, self._model = network, kept, network.digest()[:32]
        self._memory: OrderedDict[str, list[Tensor]] = OrderedDict()
        self._named: list[tuple[weakref.ref[Pixels], str]] = []
        self._looking, self._noting = Lock(), Lock()

    def __call__(
        self, pixels: Pixels, inside: Sequence[tuple[float, float]], outside: Sequence[tuple[float, float]],
        box: Sequence[tuple[float, float]],
    ) -> list[NDArray[np.bool_]]:  # fmt: skip
        """Masks, bool [height, width], of what holds the places `inside` and none of those `outside`.

        pixels: uint8 [height, width, 3] RGB. Places are (x, y) in its pixels; box: two corners around it, or nothing.
        StampError if memory does not suffice, or the device fails.
        """
        height, width, _ = pixels.shape
        frame = self._network.frame(height, width)
        points = frame.scaled(np.array([*inside, *outside], np.float64).reshape(1, -1, 2))
        labels = torch.tensor([[1] * len(inside) + [0] * len(outside)])
        corners = frame.scaled(np.sort(np.array(box, np.float64), axis=0)).reshape(1, 4) if len(box) else None
        looked = [one.float() for one in self._embedded(pixels)]
        try:
            boxes = None if corners is None else torch.from_numpy(corners).float()
            low, iou = self._network.predict(
                looked, None, torch.from_numpy(points).float(), labels, boxes, multimask=True
            )
            order = iou[0].argsort(descending=True)
            return [(frame.restored(low[:, number])[0] > 0).numpy() for number in order]
        except RuntimeError as fault:
            raise _failure(fault) from fault

    def prepare(self, pixels: Pixels) -> None:
        """Look at a picture before anybody asks about it; faults as of asking."""
        self._embedded(pixels)

    def _embedded(self, pixels: Pixels) -> list[Tensor]:
        name = f"{self._digest(pixels)}-{self._model}"
        found = self._remembered(name)
        if found is None:
            with self._looking:
                found = self._remembered(name) or self._looked(name, pixels)  # somebody else may just have looked
                self._remember(name, found)
        return found

    def _looked(self, name: str, pixels: Pixels) -> list[Tensor]:
        """From the disk, or from the network."""
        found = self._kept.get(name, self._network.shapes) if self._kept else None
        if found is not None:
            return found
        height, width, _ = pixels.shape
        try:
            seen = self._network.embed(self._network.frame(height, width).pixels(pixels))
            fresh = [one.half().cpu() for one in seen]
        except RuntimeError as fault:
            raise _failure(fault) from fault
        if self._kept:
            self._kept.put(name, fresh)
        return fresh

    def _remembered(self, name: str) -> list[Tensor] | None:
        with self._noting:
            if name in self._memory:
                self._memory.move_to_end(name)
            return self._memory.get(name)

    def _remember(self, name: str, found: list[Tensor]) -> None:
        with self._noting:
            self._memory[name] = found
            while len(self._memory) > IN_MEMORY:
                self._memory.popitem(last=False)

    def _digest(self, pixels: Pixels) -> str:
        """Of a picture's size and pixels; of the very same array once, since 20 megapixels take as long as an answer."""
        with self._noting:
            for known, digest in self._named:
                if known() is pixels:
                    return digest
        height, width, _ = pixels.shape
        digest = blake3(np.ascontiguousarray(pixels).data).update(f"{height} {width}".encode()).hexdigest()[:32]
        with self._noting:
            self._named = [(weakref.ref(pixels), digest), *self._named][:NAMED]
        return digest


def _failure(fault: RuntimeError) -> StampError:
    """torch's own error, for memory as well, as one line."""
    return StampError(f"SAM failed: {first_line(fault)}", "close other programs, or try --device cpu")
