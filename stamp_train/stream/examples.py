"""From a record to the layout's input: its picture through the model's processor, its chosen dialogues with their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stamp_data.grid import rle_coverage
from stamp_data.picture import PictureFault
from stamp_data.pixels import decode_picture
from stamp_data.rle import decode as decode_rle
from stamp_schemas import Dialogue, Grid, UsageFault
from stamp_schemas.record import IGNORE
from stamp_train.methods.stamp.demo.patch_classes import name_patches
from stamp_train.methods.stamp.labels import sampled_labels
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.stream.records import BadRecord, Parsed

GridTHW = tuple[int, int, int]
Prepare = Callable[[Image.Image], tuple[Tensor, GridTHW]]
"""A picture in RGB to pixel values and their patch grid (time, height, width); ValueError for one that no model can take.
Called in several threads at a time."""


class ExampleMaker:
    """Makes layout inputs of records.

    Args:
        prepare: the model's processor.
        side: labels per side of a merged patch, as `LayoutOptions.side`.
        label_rule: `coverage` or `sampled`, see `LossSettings.label_rule`.
        names: categories that patches are named by (`stamp_train.methods.stamp.demo.patch_classes`).

    Raises:
        UsageFault: sampled labels within a merged patch, which the published code does not have.
    """

    def __init__(
        self, prepare: Prepare, side: int = 1, label_rule: str = "coverage", names: Sequence[str] = ()
    ) -> None:
        if label_rule == "sampled" and side != 1:
            raise UsageFault(
                "labels by point sampling are one per patch, the fine head wants more",
                "model.head=patch, or another loss",
            )
        self._prepare, self._side = prepare, side
        self._numbers = {name: number for number, name in enumerate(names)}
        self._labels = _sampled if label_rule == "sampled" else _coverage

    def __call__(self, parsed: Parsed, dialogues: Sequence[int]) -> ImageExample:
        """The record with the dialogues at those places; BadRecord if its picture cannot be used."""
        record = parsed.record
        chosen = [record.dialogues[place] for place in dialogues]
        if record.image is None:
            return ImageExample([DialogueExample(f"{record.key}/{one.id}", _messages(one)) for one in chosen])
        pixels, (time, height, width) = self._pixels(parsed)
        grid = Grid(height // 2 * self._side, width // 2 * self._side)
        coverage = {target: self._labels(parsed, target, grid) for one in chosen for target in one.targets}
        examples = [
            DialogueExample(f"{record.key}/{one.id}", _messages(one), [coverage[target] for target in one.targets])
            for one in chosen
        ]
        names = name_patches(record, Grid(height, width), self._numbers) if self._numbers else None
        return ImageExample(examples, pixels, (time, height, width), names)

    def _pixels(self, parsed: Parsed) -> tuple[Tensor, GridTHW]:
        info = parsed.record.image
        assert info is not None  # only called for records with a picture
        try:
            image = decode_picture(parsed.image)
        except PictureFault as fault:
            raise BadRecord("picture-broken", str(fault)) from None
        if image.size != (info.width, info.height):
            raise BadRecord("picture-size", f"{image.size}, the record says {(info.width, info.height)}")
        try:
            return self._prepare(image)
        except ValueError as fault:
            raise BadRecord("picture-refused", str(fault)) from None


def _coverage(parsed: Parsed, target: int, grid: Grid) -> NDArray[np.uint8]:
    """The labels as stored, if they are of this grid; otherwise by the same rule from the mask."""
    if parsed.labels is not None and parsed.labels.shape[1:] == (grid.height, grid.width):
        labels: NDArray[np.uint8] = parsed.labels[target]
        return labels
    info = parsed.record.targets[target]
    return rle_coverage(info.rle, grid, info.ignore_rle)


def _sampled(parsed: Parsed, target: int, grid: Grid) -> NDArray[np.uint8]:
    """Labels as the published trainer makes them, which knows no pixels to ignore: those stay ours."""
    labels = sampled_labels(decode_rle(parsed.record.targets[target].rle), (grid.height, grid.width))
    return np.where(_coverage(parsed, target, grid) == IGNORE, np.uint8(IGNORE), labels)


def _messages(dialogue: Dialogue) -> list[dict[str, Any]]:
    return [
        {
            "role": message.role,
            "content": [
                {"type": "image"} if part.type == "image" else {"type": "text", "text": part.text}
                for part in message.content
            ],
        }
        for message in dialogue.messages
    ]
