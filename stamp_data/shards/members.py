"""The members of one record in its shard: one ranged read, every member checked by its hash, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.files import UNDECODABLE
from stamp_data.rle import UInt8
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.stores import Store
from stamp_schemas import Record, StampError
from stamp_schemas.record import RECORD_SCHEMA

HEADER = 512  # bytes of a tar header, right before the data of its member
Spans = Sequence[Sequence[int]]
"""(offset, bytes, xxh3-64) of members in the order of their places; 0 bytes where there is none."""


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
    labels: UInt8 | None


class Damaged(Exception):
    """The bytes of a member are not those of the index. member: which of the spans. header: what lies before them."""

    def __init__(self, member: int, header: bytes) -> None:
        super().__init__(member)
        self.member, self.header = member, header


def read_members(tars: Store, shard: str, spans: Spans) -> list[memoryview]:
    """The bytes of each member; empty where there is none.

    What does not hash to what the index says is read once more, since it may have been the way. Damaged if that does not
    help, StampError for a shard that cannot be read.
    """
    there = [span for span in spans if span[1]]
    if not there:
        return [memoryview(b"")] * len(spans)
    last, size, _ = there[-1]
    begin, end = there[0][0] - HEADER, last + size
    if begin < 0 or end < begin:
        raise StampError(f"{tars}/{shard}: the index has a member at byte {begin + HEADER:,}", "is the index damaged?")
    try:
        return _cut(tars.read(shard, begin, end - begin), begin, spans)
    except Damaged:
        return _cut(tars.reread(shard, begin, end - begin), begin, spans)


def _cut(read: bytes, begin: int, spans: Spans) -> list[memoryview]:
    """The members in what was read from byte `begin` on; Damaged by the first whose hash differs."""
    data = memoryview(read)
    parts: list[memoryview] = []
    for number, (offset, size, xxh3) in enumerate(spans):
        at = offset - begin
        part = data[at : at + size] if size else data[:0]
        if size and xxh3_64_intdigest(part) != xxh3:
            raise Damaged(number, bytes(data[at - HEADER : at]))
        parts.append(part)
    return parts


def parse(image: memoryview, json: bytes | memoryview, labels: bytes | memoryview) -> Parsed:
    """A record from its members; BadRecord if they are none, StampError if they are of another version."""
    try:
        record = msgspec.json.decode(json, type=Record)
    except UNDECODABLE as fault:
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
