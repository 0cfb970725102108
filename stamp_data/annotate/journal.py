"""Every change of one picture's annotations by the line, so that none is lost and each can be taken back."""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path
from typing import Literal

import msgspec

from stamp_data.annotate.change import Change
from stamp_data.files import UNDECODABLE, read_plain
from stamp_data.writing import sync, write_atomic
from stamp_schemas.errors import naming

Kind = Literal["edit", "undo", "redo"]
LIMIT = 1 << 30  # bytes that are read
MOST = 1000  # lines; beyond them the older ones go when the file is opened next
KEPT = 200  # changes that can be taken back


class Entry(msgspec.Struct):
    """One line. revision: of the document after it. change: what was done, back: what takes it back. at, by: when, who."""

    revision: int
    kind: Kind
    change: Change
    back: Change
    at: str = ""
    by: str = ""


_ENTRY = msgspec.json.Decoder(Entry)


class Journal:
    """The lines of one file, which need not be there yet. A line that was not written to its end is dropped.

    folder: that the file is to lie below. entries: that were read. OSError if it cannot be read.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.entries = _entries(path)
        self._unsynced = [*takewhile(lambda parent: parent != folder, path.parents), folder]
        self._undone: list[Entry] = []
        self._done: list[Entry] = []
        if len(self.entries) > MOST:
            self.entries = self.entries[-KEPT:]
            write_atomic(path, b"".join(map(_line, self.entries)))
        for entry in self.entries:
            self._take(entry)

    @property
    def undoable(self) -> Entry | None:
        """The last change that was not taken back."""
        return self._done[-1] if self._done else None

    @property
    def redoable(self) -> Entry | None:
        """The last change that was taken back, if nothing was done since."""
        return self._undone[-1] if self._undone else None

    def add(self, entry: Entry) -> None:
        """Write a line; when it says that something is accepted, it is on the disk before this returns. OSError if not."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), self.path.open("ab") as file:
            start = file.tell()
            try:
                file.write(_line(entry))
                file.flush()
                if entry.change.accepts:
                    os.fsync(file.fileno())
                    self._sync_folders()
            except OSError:
                os.ftruncate(file.fileno(), start)  # half a line would spoil the next
                raise
        self._take(entry)

    def forget(self) -> None:
        """Begin anew, since it is of another document than the one that is there; what there was is kept beside it."""
        if self.path.exists():
            self.path.replace(self.path.with_name(f"{self.path.name}.old"))
        self.entries, self._done, self._undone = [], [], []

    def _sync_folders(self) -> None:
        """Have the file's name on the disk too, once: whichever line was its first."""
        for folder in self._unsynced:
            sync(folder)
        self._unsynced = []

    def _take(self, entry: Entry) -> None:
        if entry.kind == "undo" and self._done:
            self._undone.append(self._done.pop())
        elif entry.kind == "redo" and self._undone:
            self._done.append(self._undone.pop())
        else:
            self._done.append(entry)
            self._undone.clear()
        del self._done[:-KEPT]


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


def _entries(path: Path) -> list[Entry]:
    """The lines up to the first that is damaged, which is cut off with all that follows it."""
    if not path.exists():
        return []
    data = read_plain(path, LIMIT)
    entries: list[Entry] = []
    good = 0
    for line in data.splitlines(keepends=True):
        try:
            entry = _ENTRY.decode(line)
        except UNDECODABLE:
            break
        if not line.endswith(b"\n") or (entries and entry.revision != entries[-1].revision + 1):
            break
        entries.append(entry)
        good += len(line)
    if good < len(data):
        with path.open("r+b") as file:
            file.truncate(good)
    return entries
