"""Dialogues for LLaMA-Factory: messages in its `sharegpt` formatting, and `dataset_info.json`, which lists the files.

The exported folder is its `dataset_dir`; a set is called `<set>_<split>`.
"""

from __future__ import annotations

from pathlib import Path

from stamp_data.export.base import Place
from stamp_data.export.chats import ChatFormat, joined
from stamp_data.export.report import Tally
from stamp_data.writing import json_text
from stamp_schemas import Dialogue, Record

_TAGS = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system",
}  # fmt: skip


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
        messages = [{"role": turn.role, "content": joined(turn.content)} for turn in dialogue.messages]
        return {"messages": messages, "images": [image] if image else []}

    def finish(self) -> None:
        (self.out / "dataset_info.json").write_bytes(json_text(self._listed))
