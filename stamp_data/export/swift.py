"""Dialogues for ms-swift: `messages` and `images`, and the boxes of masks as `objects`, with `<bbox>` for each `<|seg|>`.

Boxes are [left, top, right, bottom] in pixels (`bbox_type` real).
"""

from __future__ import annotations

import re

from stamp_data.export.base import STORED
from stamp_data.export.chats import ChatFormat, joined
from stamp_schemas import Dialogue, Record
from stamp_schemas.record import SEG

BOX = "<bbox>"


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
            text = joined(turn.content)
            said = re.sub(re.escape(SEG), boxed, text) if turn.role == "assistant" else text
            messages.append({"role": turn.role, "content": said})
        item: dict[str, object] = {"messages": messages, "images": [image] if image else []}
        return item | {"objects": {"ref": [], "bbox": boxes, "bbox_type": "real"}}
