"""Records from the shards: one ranged read each, every member checked by its hash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from stamp_schemas import Record, StampError
from stamp_schemas.record import RECORD_SCHEMA
from stamp_train.stream.index import HEADER, SetIndex, ShardRows

_NPY = b"\x93NUMPY\x01\x00"  # version 1 of the format


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
    """A record. image: the picture's bytes, empty for text. labels: uint8 [targets, grid height, grid width] or None."""

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
        (image, image_size, _), (json, json_size, _), (labels, labels_size, _) = spans
        start = (image if image_size else json) - HEADER
        end = labels + labels_size if labels_size else json + json_size
        data = memoryview(one.tars.read(rows.entry.path, start, end - start))
        parts = []
        for offset, size, xxh3 in spans:
            part = data[offset - start : offset - start + size] if size else data[:0]
            if size and xxh3_64_intdigest(part) != xxh3:
                raise _damage(one, shard, row, offset, bytes(data[offset - start - HEADER : offset - start]))
            parts.append(part)
        return Raw(*parts)

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
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        _check_schema(json)
        raise BadRecord("record-broken", str(fault)) from None
    return Parsed(record, image, _labels(labels, record) if len(labels) else None)


def _labels(data: bytes | memoryview, record: Record) -> NDArray[np.uint8]:
    """A labels member, whose header is known from the record.

    np.load parses that header as Python, and CPython's parser fails now and then when threads use it at a time
    (SystemError: AST constructor recursion depth mismatch).
    """
    shape = (len(record.targets), *((record.grid.height, record.grid.width) if record.grid else ()))
    expected = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    begin = len(_NPY) + 2
    end = begin + int.from_bytes(data[len(_NPY) : begin], "little")
    found = bytes(data[begin:end]).rstrip()
    if bytes(data[: len(_NPY)]) != _NPY or found != expected or len(data) - end != math.prod(shape):
        raise BadRecord("labels-broken", f"{len(data):,} bytes, {found[:90]!r}; the record asks for uint8 {shape}")
    return np.frombuffer(data, np.uint8, offset=end).reshape(shape).copy()


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
