"""Conversations in words and as JSON: what the terminal prints, the page draws and a file keeps."""

from __future__ import annotations

import re

import msgspec
import numpy as np

from stamp_data.rle import encode
from stamp_schemas import RLE
from stamp_schemas.record import SEG
from stamp_train.predict.dialogue import Chat, Turn
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

    text: the answer as it is meant to be read; content: with `<|seg|>` in its places; masks: one for each of them, unless
    the answer was stopped; overlay: name of a picture beside the file, None where there is none.
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
    """A conversation as it is saved. model, image: their names."""
    assert chat.picture is not None  # chats of this package are about pictures
    rounds = [
        SavedRound(
            prompt=turn.question,
            text=turn.answer.text,
            content=turn.answer.content,
            finish=turn.answer.finish,
            masks=[encode(mask.astype(np.uint8)) for mask in turn.answer.masks],
        )
        for turn in chat.history
    ]
    return Transcript(model, SavedImage(image, chat.picture.width, chat.picture.height), rounds)


def pieces(turn: Turn) -> list[str | int]:
    """An answer as its text and, in the place of every `<|seg|>`, the index of its mask."""
    found: list[str | int] = []
    for number, text in enumerate(turn.answer.content.split(SEG)):
        found += [number - 1] if number else []
        found += [seen] if (seen := _UNSEEN.sub("", text)) else []
    return found


def printable(text: str) -> str:
    """Text without what a terminal would obey: control and direction characters become `�`."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
