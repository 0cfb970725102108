"""What goes into a layout and what comes out: images with their dialogues, options, packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.sequence.chat import Message
from stamp_train.sequence.document import MERGE
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import StampInputs, Targets
from stamp_train.sequence.structure import Movable


@dataclass(frozen=True)
class DialogueExample:
    """One conversation about an image, or about none.

    name: for messages, such as the record's key and the dialogue's id. messages: see `ChatEncoder.encode`. labels: for each
    `<|seg|>` in order, what its method learns. expressions: for each of these, what it is of; may be missing.
    """

    name: str
    messages: Sequence[Message]
    labels: Sequence[NDArray[np.uint8]] = ()
    expressions: Sequence[str] = ()


@dataclass(frozen=True)
class ImageExample:
    """An image with all its dialogues, at least one; without pixels, dialogues in text alone.

    pixel_values: float [patches, channels * time * height * width of one], see `StampProcessor.images`. grid_thw: patches in
    (time, height, width) before the 2x2 merge.
    """

    dialogues: Sequence[DialogueExample]
    pixel_values: Tensor | None = None
    grid_thw: tuple[int, int, int] | None = None

    def check(self) -> None:
        """StampModelError: no dialogue, or pixel values without a grid, of another one, or not finite."""
        if not self.dialogues:
            raise StampModelError("an image without dialogues")
        where = self.dialogues[0].name
        if (self.pixel_values is None) != (self.grid_thw is None):
            raise StampModelError("pixel values and grid must come together", where=where)
        if self.pixel_values is not None and self.grid_thw is not None:
            check_pixels(self.pixel_values, self.grid_thw, where)


def check_pixels(pixel_values: Tensor, grid_thw: tuple[int, int, int], where: str) -> None:
    """StampModelError about `where`, unless pixel values are finite and of that grid."""
    time, height, width = grid_thw
    if time != 1 or height % MERGE or width % MERGE or time * height * width != pixel_values.shape[0]:
        raise StampModelError(
            f"grid {grid_thw} disagrees with {pixel_values.shape[0]} rows of pixel values",
            where=where,
            fix="pass both as the image processor gave them",
        )
    # A sum is finite only if all of it is (or huge: then look again); looking at each value takes twenty times as long.
    if not bool(pixel_values.sum().isfinite()) and not bool(pixel_values.isfinite().all()):
        raise StampModelError("pixel values are not finite", where=where, fix="check how the image was decoded")


@dataclass(frozen=True)
class PackedBatch(Movable):
    """One sequence, ready for the model, and what should come out. dropped: dialogues too long with their masks in words."""

    inputs: StampInputs
    targets: Targets
    dialogues: tuple[str, ...]
    dropped: tuple[str, ...] = ()
