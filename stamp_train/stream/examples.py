"""From a record to the layout's input: its image through the model's processor, its chosen dialogues with their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from torch import Tensor

from stamp_data.picture import PictureFault
from stamp_data.pixels import decode_picture
from stamp_data.shards.members import BadRecord, Parsed
from stamp_schemas import Dialogue, Record
from stamp_train.methods.contract import Label, Method
from stamp_train.sequence.document import merged_grid
from stamp_train.sequence.examples import DialogueExample, ImageExample

if TYPE_CHECKING:
    from stamp_train.backbones.processor import StampProcessor

GridTHW = tuple[int, int, int]
Prepare = Callable[[Image.Image], tuple[Tensor, GridTHW]]
"""An image in RGB to pixel values and their patch grid (time, height, width); ValueError for one that no model can take.
Called in several threads at a time."""


def prepare_with(processor: StampProcessor) -> Prepare:
    """The processor as the stream calls it."""

    def prepare(image: Image.Image) -> tuple[Tensor, GridTHW]:
        batch = processor.images([image])[0]
        return batch.pixel_values, batch.grid_thw

    return prepare


class ExampleMaker:
    """Makes layout inputs of records. prepare: the model's processor. method: says what is learned of them."""

    def __init__(self, prepare: Prepare, method: Method) -> None:
        self._prepare, self._method = prepare, method

    def __call__(self, parsed: Parsed, dialogues: Sequence[int]) -> ImageExample:
        """The record with the dialogues at those places; BadRecord if its image cannot be used."""
        record = parsed.record
        chosen = [record.dialogues[place] for place in dialogues]
        if record.image is None:
            return ImageExample([_example(record, one, {}) for one in chosen])
        pixels, grid_thw = self._pixels(parsed)
        grid = merged_grid(grid_thw)
        labels = {target: self._label(parsed, target, grid) for one in chosen for target in one.targets}
        examples = [_example(record, one, labels) for one in chosen]
        return ImageExample(examples, pixels, grid_thw)

    def _label(self, parsed: Parsed, target: int, grid: tuple[int, int]) -> Label:
        stored = None if parsed.labels is None else parsed.labels[target]
        return self._method.label(parsed.record, target, grid, stored)

    def _pixels(self, parsed: Parsed) -> tuple[Tensor, GridTHW]:
        info = parsed.record.image
        assert info is not None  # only called for records with an image
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


def _example(record: Record, dialogue: Dialogue, labels: Mapping[int, Label]) -> DialogueExample:
    learned = [labels[target] for target in dialogue.targets if labels]
    answers = [turn for turn in dialogue.messages if turn.role == "assistant"]
    said = [dialogue.said(number) for number, turn in enumerate(answers) for _ in range(turn.masks)]
    return DialogueExample(f"{record.key}/{dialogue.id}", _messages(dialogue), learned, said)


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
