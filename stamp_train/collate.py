"""From a record of a shard set to what the layout takes: pixels, messages, and coverage at the model's own grid."""

from __future__ import annotations

import io
from collections.abc import Sequence

import msgspec
from PIL import Image

from stamp_data.grid import rle_coverage
from stamp_schemas import Grid, Record
from stamp_train.examples import DialogueExample, ImageExample
from stamp_train.model.processor import PixelBatch, StampProcessor


def pixels_of(image: bytes, processor: StampProcessor) -> PixelBatch:
    """The picture as the vision tower takes it. EXIF rotation is not applied: masks are in stored pixels."""
    with Image.open(io.BytesIO(image)) as picture:
        return processor.images([picture.convert("RGB")])[0]


def image_example(
    record: Record, pixels: PixelBatch | None, side: int, dialogues: Sequence[int] | None = None
) -> ImageExample:
    """Some dialogues of a record, or all.

    Args:
        record: as read.
        pixels: of its picture; None for text.
        side: labels per side of a merged patch, as the head's `side`. Coverage is worked out from the masks at that
            resolution of the model's grid, whatever grid the set was built for.
        dialogues: indices into `record.dialogues`.
    """
    grid = None if pixels is None else Grid(pixels.grid_thw[1] // 2 * side, pixels.grid_thw[2] // 2 * side)
    examples = []
    for index in range(len(record.dialogues)) if dialogues is None else dialogues:
        dialogue = record.dialogues[index]
        targets = [record.targets[target] for target in dialogue.targets] if grid else []
        examples.append(
            DialogueExample(
                f"{record.key}/{dialogue.id}",
                [msgspec.to_builtins(message) for message in dialogue.messages],
                [rle_coverage(target.rle, grid, target.ignore_rle) for target in targets] if grid else [],
            )
        )
    if pixels is None:
        return ImageExample(examples)
    return ImageExample(examples, pixels.pixel_values, pixels.grid_thw)
