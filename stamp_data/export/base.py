"""What every export format is: told of sets and records one by one, it writes a folder and keeps account."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import msgspec

from stamp_data.export.report import Tally, counted
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
        return counted(loaded, self.by_request)

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

    def __enter__(self) -> JsonList:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("wb")
        self._file.write(b"[")
        return self

    def append(self, item: object) -> None:
        self._file.write((b",\n" if self._count else b"\n") + msgspec.json.encode(item))
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.write(b"\n]\n")
        finally:
            self._file.close()


def image_name(loaded: Loaded) -> str:
    """File name of a record's picture: its key, and the extension of its real format."""
    return loaded.row.member_name("image")
