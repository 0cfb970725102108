"""What every export format is: told of sets and records one by one, it writes a folder and keeps account."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from stamp_data.export.report import Tally
from stamp_data.export.texts import answers_in_words, requests_of
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_schemas import Manifest

PARTED = "dialogues that were joined of several requests are written as those"
STORED = "masks are of the pictures as stored, whatever their EXIF orientation"


@dataclass(frozen=True)
class Place:
    """A set on its way out. dataset, split: its folders, safe as file names and unique together."""

    shards: ShardSet
    dataset: str
    split: str

    @property
    def manifest(self) -> Manifest:
        return self.shards.manifest


class Format(ABC):
    """Writes into `out`, an empty folder; a new instance for every export.

    polygons: outlines instead of pixels where the format has both. notes: what it never holds of any set. by_request: it has
    no rounds, and writes a joined dialogue as the requests that it was joined of, each of which counts.
    """

    name: ClassVar[str]
    notes: ClassVar[tuple[str, ...]] = ()
    by_request: ClassVar[bool] = False

    def __init__(self, out: Path, tally: Tally, polygons: bool) -> None:
        self.out = out
        self.tally = tally
        self.polygons = polygons

    @abstractmethod
    def begin(self, place: Place) -> None:
        """Records of a set follow."""

    @abstractmethod
    def add(self, loaded: Loaded) -> None:
        """Write one record; every part of it is held or lost in the tally."""

    def counted(self, loaded: Loaded) -> dict[str, int]:
        """What a record consists of, by the fields of `Counts`."""
        record = loaded.record
        requests = requests_of(record)
        return {
            "records": 1,
            "pictures": int(loaded.image is not None),
            "dialogues": len(requests if self.by_request else record.dialogues),
            "targets": len(record.targets),
            "ignored": sum(target.ignore_rle is not None for target in record.targets),
            "answers": sum(map(answers_in_words, requests)),
        }

    def end(self) -> None:
        """No more records of the set."""
        return

    def finish(self) -> None:
        """No more sets."""
        return


class JsonList:
    """A JSON array on disk, one element a line, written element by element."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._file.write(b"[")

    def append(self, item: object) -> None:
        self._file.write((b",\n" if self._count else b"\n") + msgspec.json.encode(item))
        self._count += 1

    def close(self) -> None:
        self._file.write(b"\n]\n")
        self._file.close()


class JsonObject:
    """A JSON object with lists that grow by turns, none of which is held in memory.

    Written to `path` when it is closed: the items of `head`, then each of the `sections`.
    """

    def __init__(self, path: Path, head: dict[str, object], sections: Sequence[str]) -> None:
        self.path = path
        self.head = head
        self._lists = {name: JsonList(path.with_suffix(f".{name}")) for name in sections}

    def append(self, section: str, item: object) -> None:
        self._lists[section].append(item)

    def close(self) -> None:
        with self.path.open("wb") as file:
            file.write(msgspec.json.encode(self.head).removesuffix(b"}"))
            for name, part in self._lists.items():
                part.close()
                file.write(f',\n"{name}": '.encode())
                with part.path.open("rb") as section:
                    shutil.copyfileobj(section, file)
                part.path.unlink()
            file.write(b"}\n")


def image_name(loaded: Loaded) -> str:
    """File name of a record's picture: its key, and the extension of its real format."""
    return loaded.row.member_name("image")


def write_picture(loaded: Loaded, folder: Path) -> str:
    """Put the original bytes of a record's picture into a folder; their file's name."""
    name = image_name(loaded)
    (folder / name).write_bytes(loaded.image or b"")
    return name
