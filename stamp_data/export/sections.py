"""A JSON object with lists that grow by turns, as COCO's and SA-Co's files are: none of it is held in memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from stamp_data.export.base import JsonList


class JsonObject:
    """Written to `path` when it is closed: the items of `head`, then each of the `sections`."""

    def __init__(self, path: Path, head: dict[str, object], sections: Sequence[str]) -> None:
        self.path = path
        self.head = head
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        lists = ((name, JsonList(path.with_suffix(f".{name}"))) for name in sections)
        self._lists = {name: self._stack.enter_context(one) for name, one in lists}

    def append(self, section: str, item: object) -> None:
        self._lists[section].append(item)

    def close(self) -> None:
        """Join the sections to one object."""
        self._stack.close()
        with self.path.open("wb") as file:
            file.write(msgspec.json.encode(self.head).removesuffix(b"}"))
            for name, part in self._lists.items():
                file.write(f',\n"{name}": '.encode())
                with part.path.open("rb") as section:
                    shutil.copyfileobj(section, file)
                part.path.unlink()
            file.write(b"}\n")
