"""Random access to the records of a shard set: by row or by key, through the index, every member checked by its hash."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.files import open_plain
from stamp_data.rle import UInt8
from stamp_data.shards.index import IndexRow, read_rows
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.manifest import INDEX, SHARD_NAME, read_manifest
from stamp_schemas import Manifest, Record, StampError

OPEN_SHARDS = 16  # file handles kept per reader


@dataclass(frozen=True)
class Loaded:
    """One record as read back. image: the original bytes, None for text; labels: uint8 [targets, grid h, grid w] or None."""

    row: IndexRow
    record: Record
    image: bytes | None
    labels: UInt8 | None


class ShardSet:
    """One built split, opened for reading. Not safe to share between threads; cheap enough to open in each.

    Raises StampError, naming shard, record and member, for whatever does not hash to what the index says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self._files: OrderedDict[str, BinaryIO] = OrderedDict()

    @cached_property
    def rows(self) -> list[IndexRow]:
        """The whole index, in shard order."""
        return read_rows(self.folder / INDEX)

    @cached_property
    def _by_key(self) -> dict[str, IndexRow]:
        return {row.key: row for row in self.rows}

    def __len__(self) -> int:
        return self.manifest.totals.records

    def __iter__(self) -> Iterator[Loaded]:
        return map(self.load, self.rows)

    def find(self, key: str) -> IndexRow:
        """The row of the record called `key`; StampError if there is none."""
        try:
            return self._by_key[key]
        except KeyError:
            raise StampError(
                f"{self.folder}: no record {key!r}", "keys are listed by `stamp-data inspect -q`"
            ) from None

    def member(self, row: IndexRow, member: str) -> bytes:
        """Checked bytes of one member (`image`, `json` or `labels`) of a record; b"" if the record has none."""
        offset, size, expected = row.span(member)
        if not size:
            return b""
        file = self._open(row.shard)
        there = os.fstat(file.fileno()).st_size
        data = os.pread(file.fileno(), size, offset) if 0 <= offset <= there and 0 < size <= there - offset else b""
        if xxh3_64_intdigest(data) != expected:
            raise StampError(
                f"{self.folder / row.shard}: {row.member_name(member)} is damaged (bytes differ from the index)",
                f"`stamp-data verify {self.folder} --repair --root ROOT` rebuilds the shard",
            )
        return data

    def record(self, row: IndexRow) -> Record:
        """The parsed `K.json` of a record."""
        try:
            return msgspec.json.decode(self.member(row, "json"), type=Record)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
            raise StampError(f"{self.folder / row.shard}: {row.member_name('json')} is no record: {fault}") from None

    def labels(self, row: IndexRow) -> UInt8 | None:
        """The patch labels of a record, uint8 [targets, grid height, grid width]; None without targets."""
        data = self.member(row, "labels")
        return parse_labels(data, row.labels_shape, row.member_name("labels")) if data else None

    def load(self, row: IndexRow) -> Loaded:
        """All members of a record."""
        return Loaded(row, self.record(row), self.member(row, "image") or None, self.labels(row))

    def _open(self, shard: str) -> BinaryIO:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        if not SHARD_NAME.fullmatch(shard):  # it may lead anywhere
            raise StampError(f"{self.folder / INDEX}: {shard[:100]!r} is not the name of a shard")
        try:
            file = open_plain(self.folder / shard)
        except OSError as fault:
            raise StampError(f"{self.folder / shard}: {fault.strerror}") from None
        self._files[shard] = file
        if len(self._files) > OPEN_SHARDS:
            self._files.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> ShardSet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
