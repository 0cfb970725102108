"""Lists of tagged records (`stamp.tags/1`): kept while somebody looks, and read by `build --exclude` and `annotate --from`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import msgspec
from blake3 import blake3

from stamp_data.files import UNDECODABLE, read_plain
from stamp_data.patches import SetPatch
from stamp_data.shards.rejects import storable
from stamp_data.writing import write_atomic
from stamp_schemas import Input, StampError
from stamp_schemas.errors import first_line
from stamp_schemas.tags import TaggedRecord

LIMIT = 1 << 28  # bytes of a file
_HINT = "`stamp-data inspect SHARDS --serve --tags FILE` writes such lists"


class TagList:
    """Tags by set and record, kept in a file where there is one; safe to share between threads. StampError as `read_tags`."""

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._lock = path, Lock()
        held = read_tags(path) if path is not None and path.exists() else []
        self._rows = {(row.set, row.record): row for row in held}

    def rows(self) -> list[TaggedRecord]:
        """All of them, in the order of sets and records."""
        with self._lock:
            return self._sorted()

    def of(self, name: str, record: str) -> list[str]:
        """The tags of a record of the set of that name."""
        row = self._rows.get((name, record))
        return row.tags if row else []

    def put(self, name: str, record: str, tags: Sequence[str], place: str) -> None:
        """Give a record these tags and no others, and write the file. place: of its set."""
        with self._lock:
            self._rows.pop((name, record), None)
            if tags:
                row = TaggedRecord(set=name, record=record, tags=list(tags), place=place)
                self._rows[name, record] = row
            if self._path is not None:
                write_atomic(self._path, msgspec.json.Encoder().encode_lines(self._sorted()))

    def _sorted(self) -> list[TaggedRecord]:
        return [row for _, row in sorted(self._rows.items())]


def read_tags(path: Path) -> list[TaggedRecord]:
    """The records of a list. StampError if it is none, or cannot be read."""
    try:
        data = read_plain(path, LIMIT)
    except OSError as fault:
        raise StampError(f"{path}: {fault.strerror}", _HINT) from None
    rows = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            rows += [msgspec.json.decode(line, type=TaggedRecord)] if line.strip() else []
        except UNDECODABLE as fault:
            raise StampError(f"{path}: line {number} is no tagged record: {first_line(fault)}", _HINT) from None
    return rows


def read_exclusions(paths: Sequence[Path]) -> dict[str, list[SetPatch]]:
    """By the name of a set, which of its records lists leave out. StampError as `read_tags`, or for an empty list."""
    found: dict[str, list[SetPatch]] = {}
    for path in paths:
        rows = read_tags(path)
        if not rows:
            raise StampError(f"{path}: holds no record", _HINT)
        data = read_plain(path, LIMIT)
        origin = Input(storable(path.name), len(data), blake3(data).hexdigest())
        of_file: dict[str, SetPatch] = {}
        for row in rows:
            of_file.setdefault(row.set, SetPatch(origin)).left_out[row.record] = ", ".join(row.tags)
        for name, one in of_file.items():
            found.setdefault(name, []).append(one)
    return found
