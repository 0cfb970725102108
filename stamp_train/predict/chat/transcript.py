"""Conversations in words and as JSON: what the page draws, and the one way in which they are saved."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np

from stamp_data.rle import encode
from stamp_data.writing import write_atomic
from stamp_schemas import RLE, StampError
from stamp_schemas.record import SEG
from stamp_train.predict.dialogue import Chat
from stamp_train.predict.segmentation import Segmentation
from stamp_train.sequence.chat import NO, YES

SCHEMA_VERSION = 1
_UNSEEN = re.compile("|".join(map(re.escape, (YES, NO))))


class SavedImage(msgspec.Struct):
    """The picture that was talked about. width, height: of the masks, after turning by its EXIF orientation."""

    name: str
    width: int
    height: int


class SavedRound(msgspec.Struct):
    """A question and its answer, in the words of `stamp_train.predict.writing.Prediction`.

    masks: one for each `<|seg|>` of the content, unless the answer was stopped. overlay: name of a picture beside the file.
    """

    prompt: str
    text: str
    content: str
    finish: str
    masks: list[RLE]
    overlay: str | None = None


class Transcript(msgspec.Struct):
    """A conversation as it is saved. model: name of the checkpoint."""

    model: str
    image: SavedImage
    rounds: list[SavedRound]
    schema_version: int = SCHEMA_VERSION

    def json(self) -> bytes:
        """As one JSON value, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def transcript(chat: Chat, model: str, image: str) -> Transcript:
    """A conversation about a picture as it is saved; model and picture by their names."""
    assert chat.image is not None  # chats of this package are about pictures
    rounds = [
        SavedRound(
            one.question, one.text, one.content, one.finish, [encode(mask.astype(np.uint8)) for mask in one.masks]
        )
        for one in chat.history
    ]
    return Transcript(model, SavedImage(image, chat.image.width, chat.image.height), rounds)


def save(chat: Chat, path: Path, model: str, image: str) -> None:
    """Write a conversation as JSON, and a picture with its masks beside it for every answer that has some.

    StampError if there is nothing to save, the file is there already, or cannot be written.
    """
    if not chat.history:
        raise StampError("nothing has been said yet")
    if path.exists():
        raise StampError(f"{path} is there already", "choose another name")
    saved = transcript(chat, model, image)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number, (answer, row) in enumerate(zip(chat.history, saved.rounds, strict=True), start=1):
            if answer.masks:
                row.overlay = f"{path.stem}-{number}.jpg"
                answer.overlay().save(path.with_name(row.overlay), quality=90)
        write_atomic(path, saved.json())
    except OSError as fault:
        raise StampError(f"{path}: cannot be written: {fault.strerror}") from None


def pieces(answer: Segmentation) -> list[str | int]:
    """An answer as its text and, in the place of every `<|seg|>`, the index of its mask."""
    found: list[str | int] = []
    for number, text in enumerate(answer.content.split(SEG)):
        found += [number - 1] if number else []
        found += [seen] if (seen := _UNSEEN.sub("", text)) else []
    return found
