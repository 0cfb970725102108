"""Dialogues as OpenAI's messages in JSON lines, which lmms-engine and NeMo read too: `messages` with lists of parts.

Pictures are `image_url` parts that hold a path.
"""

from __future__ import annotations

from stamp_data.export.chats import ChatFormat
from stamp_schemas import Dialogue, Record


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
