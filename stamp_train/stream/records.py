"""Records from the shards: one ranged read each, every member checked by its hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stamp_data.shards.labels import parse_labels
from stamp_data.shards.members import Damaged, read_members
from stamp_schemas import Record, StampError
from stamp_schemas.record import RECORD_SCHEMA
from stamp_train.stream.index import SetIndex, ShardRows


class BadRecord(ValueError):
    """A record that cannot be used. reason: stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Raw(NamedTuple):
    """The checked bytes of a record's members; empty where it has none."""

    image: memoryview
    json: memoryview
    labels: memoryview


@dataclass(frozen=True)
class Parsed:
    """A record. image: the image's bytes, empty for text. labels: uint8 [targets, grid height, grid width] or None."""

    record: Record
    image: memoryview
    labels: NDArray[np.uint8] | None


class RecordReader:
    """Reads the records of some sets; safe to share between threads.

    A shard that is missing, of another size than the manifest says, or not the one that the index describes is a StampError;
    a record that is damaged within it is a BadRecord.
    """

    def __init__(self, sets: Sequence[SetIndex]) -> None:
        self._sets = sets
        self._whole: set[tuple[int, int]] = set()  # shards whose size is right

    def raw(self, source: int, shard: int, row: int) -> Raw:
        """The members of record `row` of a shard of set number `source`."""
        one = self._sets[source]
        rows = one.shard(shard)
        if (source, shard) not in self._whole:
            _check_size(one, rows)
            self._whole.add((source, shard))
        spans = rows.spans[row].tolist()
        try:
            return Raw(*read_members(one.tars, rows.entry.path, spans))
        except Damaged as fault:
            raise _damage(one, shard, row, spans[fault.member][0], fault.header) from None

    def parsed(self, source: int, shard: int, row: int) -> Parsed:
        """The record itself."""
        parsed = parse(*self.raw(source, shard, row))
        one = self._sets[source]
        promised = int(one.shard(shard).dialogues[row])
        if len(parsed.record.dialogues) != promised:
            raise StampError(
                f"{one.tars}/{one.shards[shard].path}: {parsed.record.key} has {len(parsed.record.dialogues)} dialogues, "
                f"the index says {promised}",
                f"`stamp-data verify {one.store}` says more",
            )
        return parsed


def parse(image: memoryview, json: bytes | memoryview, labels: bytes | memoryview) -> Parsed:
    """A record from its members; BadRecord if they are none, StampError if they are of another version."""
    try:
        record = msgspec.json.decode(json, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        _check_schema(json)
        raise BadRecord("record-broken", str(fault)) from None
    if not len(labels):
        return Parsed(record, image, None)
    shape = (len(record.targets), *((record.grid.height, record.grid.width) if record.grid else (0, 0)))
    try:
        found = parse_labels(bytes(labels), shape, "labels.npy")
    except StampError as fault:
        raise BadRecord("labels-broken", fault.message) from None
    return Parsed(record, image, found.copy())  # torch wants what may be written to


def _check_schema(json: bytes | memoryview) -> None:
    """StampError if this is a record of another version."""
    try:
        schema = msgspec.json.decode(json, type=dict[str, object]).get("schema", RECORD_SCHEMA)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if schema != RECORD_SCHEMA:
        raise StampError(
            f"records are of schema {schema!r}, this version reads {RECORD_SCHEMA!r}",
            "build the set anew, or install the version that wrote it",
        )


def _check_size(one: SetIndex, rows: ShardRows) -> None:
    """A shard that was cut off between two members is a whole tar to everything but its length."""
    size = one.tars.size(rows.entry.path)
    if size != rows.entry.bytes:
        raise StampError(
            f"{one.tars}/{rows.entry.path}: {size:,} bytes, the manifest says {rows.entry.bytes:,}",
            f"cut off? `stamp-data verify {one.store} --repair --root ROOT` rebuilds it",
        )


def _damage(one: SetIndex, shard: int, row: int, offset: int, header: bytes) -> Exception:
    """What it means that a member's bytes are not those of the index.

    If the tar's own header names another record, index and tar are of two builds, and nothing more should be read.
    """
    key = one.key(shard, row)
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    if not name.startswith(f"{key}."):
        return StampError(
            f"{one.tars}/{one.shards[shard].path}: the index has {key} at byte {offset:,}, the tar has {name[:90]!r}",
            f"files of two builds? `stamp-data verify {one.store}` says more",
        )
    return BadRecord("damaged", f"{name}: bytes differ from the index")
