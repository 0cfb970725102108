"""Formats of dialogues, for programs that train on texts with pictures: an item per dialogue, and the pictures beside.

    <set>/<split>.jsonl (or .json)
    <set>/images/<split>/KEY.jpg   the original bytes

None of them has a place for masks. Texts stay as they are, `<|seg|>` where a mask is; `nothing` stands for a mask of nothing,
so that an answer still says that there is no such thing. Paths are relative to the exported folder.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import msgspec

from stamp_data.export.base import Format, Place, write_picture
from stamp_data.shards.reader import Loaded
from stamp_schemas import Content, Dialogue, Record
from stamp_schemas.record import SEG

IMAGE = "<image>"  # where a picture stands, in the formats whose texts are plain
NOTHING = "nothing"


class ChatFormat(Format):
    """reserved: what texts may not hold, since it would stand for something else. why: what becomes of masks, for people."""

    reserved: ClassVar[tuple[str, ...]] = ()
    why: ClassVar[str] = "a dialogue there has texts and pictures, and no masks"

    @abstractmethod
    def item(self, dialogue: Dialogue, record: Record, image: str) -> dict[str, object]:
        """One dialogue, whose `<|seg|>` are of masks that are there. image: path of the picture, "" where there is none."""

    def begin(self, place: Place) -> None:
        self.path = f"{place.dataset}/{place.split}.jsonl"
        self._images = f"{place.dataset}/images/{place.split}"
        (self.out / self._images).mkdir(parents=True)
        self._file = (self.out / self.path).open("wb")

    def add(self, loaded: Loaded) -> None:
        record, image = loaded.record, ""
        if loaded.image is not None:
            image = f"{self._images}/{write_picture(loaded, self.out / self._images)}"
        for dialogue in record.dialogues:
            if any(mark in part.text for turn in dialogue.messages for part in turn.content for mark in self.reserved):
                self.tally.lose(
                    "reserved-words", "dialogues", "its texts hold what stands for something else there", record.key
                )
                continue
            self._file.write(msgspec.json.encode(self.item(_worded(dialogue, record), record, image)) + b"\n")
            self.tally.hold(dialogues=1)
        kept = self.counted(loaded)
        self.tally.hold(**(kept | {"dialogues": 0, "targets": 0, "ignored": 0}))
        for what in ("targets", "ignored"):
            self.tally.lose("masks", what, self.why, record.key, kept[what])

    def end(self) -> None:
        self._file.close()


def _worded(dialogue: Dialogue, record: Record) -> Dialogue:
    """The dialogue with NOTHING for masks of nothing, which its targets then lack."""
    asked = iter(dialogue.targets)

    def put(part: Content) -> Content:
        first, *others = part.text.split(SEG)
        said = (SEG if record.targets[next(asked)].area else NOTHING for _ in others)
        text = first + "".join(map("".join, zip(said, others, strict=True)))
        return msgspec.structs.replace(part, text=text)

    messages = [
        msgspec.structs.replace(turn, content=[*map(put, turn.content)]) if turn.role == "assistant" else turn
        for turn in dialogue.messages
    ]
    there = [number for number in dialogue.targets if record.targets[number].area]
    return msgspec.structs.replace(dialogue, messages=messages, targets=there)


def joined(parts: list[Content]) -> str:
    """A turn as one text."""
    return "".join(IMAGE if part.type == "image" else part.text for part in parts)
