"""Formats of dialogues, for programs that train on texts with pictures: an item per dialogue, and the pictures beside.

    <set>/<split>.jsonl (or .json)
    <set>/images/<split>/KEY.jpg   the original bytes

None of them has a place for masks. Texts stay as they are, `<|seg|>` where a mask is; `nothing` stands for a mask of nothing,
so that an answer still says that there is no such thing. Paths are relative to the exported folder.

ms-swift: `messages`, `images`, and the boxes of masks as `objects`, [left, top, right, bottom] in pixels (`bbox_type` real),
with `<bbox>` for each `<|seg|>`. LLaMA-Factory: its `sharegpt` formatting, and `dataset_info.json`, which lists the files; the
exported folder is its `dataset_dir`, a set is called `<set>_<split>`. OpenAI, whose layout lmms-engine and NeMo read too:
`messages` with lists of parts, pictures as `image_url` parts that hold a path.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import msgspec

from stamp_data.export.base import STORED, Format, Place, write_picture
from stamp_data.export.report import Tally
from stamp_data.shards.reader import Loaded
from stamp_data.writing import json_text
from stamp_schemas import Content, Dialogue, Record
from stamp_schemas.record import SEG

IMAGE = "<image>"  # where a picture stands, in the formats whose texts are plain
NOTHING = "nothing"
BOX = "<bbox>"
_TAGS = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system",
}  # fmt: skip


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


class Swift(ChatFormat):
    name = "ms-swift"
    notes = (
        f"{STORED}, and so are their boxes",
        "ms-swift finds the pictures with ROOT_IMAGE_DIR set to the exported folder",
    )
    reserved = (BOX, "<ref-object>", "<audio>", "<cot-process>", "<start-image>")
    why = "a dialogue there has texts, pictures and boxes: of each mask its box is kept"

    def item(self, dialogue: Dialogue, record: Record, image: str) -> dict[str, object]:
        asked = iter(dialogue.targets)
        boxes: list[list[float]] = []

        def boxed(_: re.Match[str]) -> str:
            x, y, width, height = record.targets[next(asked)].bbox
            boxes.append([x, y, x + width, y + height])
            return BOX

        messages = []
        for turn in dialogue.messages:
            text = _joined(turn.content)
            said = re.sub(re.escape(SEG), boxed, text) if turn.role == "assistant" else text
            messages.append({"role": turn.role, "content": said})
        item: dict[str, object] = {"messages": messages, "images": [image] if image else []}
        return item | {"objects": {"ref": [], "bbox": boxes, "bbox_type": "real"}}


class LlamaFactory(ChatFormat):
    name = "llama-factory"
    reserved = ("<audio>",)

    def __init__(self, out: Path, tally: Tally, polygons: bool) -> None:
        super().__init__(out, tally, polygons)
        self._listed: dict[str, object] = {}

    def begin(self, place: Place) -> None:
        super().begin(place)
        columns = {"messages": "messages", "images": "images"}
        about = {"file_name": self.path, "formatting": "sharegpt", "columns": columns, "tags": _TAGS}
        self._listed[f"{place.dataset}_{place.split}"] = about

    def item(self, dialogue: Dialogue, record: Record, image: str) -> dict[str, object]:  # noqa: ARG002 - others ask it
        messages = [{"role": turn.role, "content": _joined(turn.content)} for turn in dialogue.messages]
        return {"messages": messages, "images": [image] if image else []}

    def finish(self) -> None:
        (self.out / "dataset_info.json").write_bytes(json_text(self._listed))


class OpenAI(ChatFormat):
    name = "openai"
    notes = ("addresses of pictures are paths below the exported folder; OpenAI's own service wants URLs",)

    def item(self, dialogue: Dialogue, record: Record, image: str) -> dict[str, object]:  # noqa: ARG002 - others ask it
        picture: dict[str, object] = {"type": "image_url", "image_url": {"url": image}}
        messages = [
            {
                "role": turn.role,
                "content": [
                    picture if part.type == "image" else {"type": "text", "text": part.text} for part in turn.content
                ],
            }
            for turn in dialogue.messages
        ]
        return {"messages": messages}


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


def _joined(parts: list[Content]) -> str:
    """A turn as one text."""
    return "".join(IMAGE if part.type == "image" else part.text for part in parts)
