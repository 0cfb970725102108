"""Formats of dialogues, for programs that train on texts with pictures: an item per dialogue, and the pictures beside.

    <set>/<split>.jsonl (or .json)
    <set>/images/<split>/KEY.jpg   the original bytes

None of them has a place for masks. Texts stay as they are, `<|seg|>` where a mask was asked for. Paths are relative to the
exported folder.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import ExitStack
from typing import ClassVar

import msgspec

from stamp_data.export.base import Format, Place, image_name
from stamp_data.shards.reader import Loaded
from stamp_schemas import Content, Dialogue, Record

IMAGE = "<image>"  # where a picture stands, in the formats whose texts are plain


class ChatFormat(Format):
    """reserved: what texts may not hold, since it would stand for something else. why: what becomes of masks, for people."""

    reserved: ClassVar[tuple[str, ...]] = ()
    why: ClassVar[str] = "a dialogue there has texts and pictures, and no masks"

    @abstractmethod
    def item(self, dialogue: Dialogue, record: Record, image: str) -> dict[str, object]:
        """One dialogue. image: path of the picture, "" for a conversation without one."""

    def begin(self, place: Place) -> None:
        self.path = f"{place.dataset}/{place.split}.jsonl"
        self._images = f"{place.dataset}/images/{place.split}"
        (self.out / self._images).mkdir(parents=True)
        self._stack = ExitStack()
        self._file = self._stack.enter_context((self.out / self.path).open("wb"))

    def add(self, loaded: Loaded) -> None:
        record, image = loaded.record, ""
        if loaded.image is not None:
            image = f"{self._images}/{image_name(loaded)}"
            (self.out / image).write_bytes(loaded.image)
        for dialogue in record.dialogues:
            if any(mark in part.text for turn in dialogue.messages for part in turn.content for mark in self.reserved):
                self.tally.lose(
                    "reserved-words", "dialogues", "its texts hold what stands for something else there", record.key
                )
                continue
            self._file.write(msgspec.json.encode(self.item(dialogue, record, image)) + b"\n")
            self.tally.hold(dialogues=1)
        kept = self.counted(loaded)
        self.tally.hold(**(kept | {"dialogues": 0, "targets": 0, "ignored": 0}))
        for what in ("targets", "ignored"):
            self.tally.lose("masks", what, self.why, record.key, kept[what])

    def end(self) -> None:
        self._stack.close()


def joined(parts: list[Content]) -> str:
    """A turn as one text."""
    return "".join(IMAGE if part.type == "image" else part.text for part in parts)
