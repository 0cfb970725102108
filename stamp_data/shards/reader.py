"""Random access to the records of a shard set: by row or by key, through the index, every member checked by its hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import msgspec

from stamp_data.files import UNDECODABLE
from stamp_data.rle import UInt8
from stamp_data.shards.index import IndexRow, read_rows
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.manifest import INDEX
from stamp_data.shards.members import Damaged, read_members
from stamp_data.shards.row import MEMBERS
from stamp_data.shards.set_index import SetIndex
from stamp_data.shards.stores import Location, is_url
from stamp_schemas import Record, StampError


@dataclass(frozen=True)
class Loaded:
    """One record as read back. image: the original bytes, None for text; labels: uint8 [targets, grid h, grid w] or None."""

    row: IndexRow
    record: Record
    image: bytes | None
    labels: UInt8 | None


class ShardSet(SetIndex):
    """One built split, opened for reading row by row: at a folder, a URL, or in a store.

    Raises StampError, naming shard, record and member, for whatever does not hash to what the index says, and StoreFault
    where the place itself cannot be read.
    """

    def __init__(self, place: Location) -> None:
        super().__init__(place)
        self._sizes = {entry.path: entry.bytes for entry in self.shards}

    @property
    def place(self) -> str:
        """Its folder or URL."""
        return str(self.store)

    @cached_property
    def rows(self) -> list[IndexRow]:
        """The whole index, in shard order."""
        return read_rows(self.store)

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
            raise StampError(f"{self.store}: no record {key!r}", "keys are listed by `stamp-data inspect -q`") from None

    def member(self, row: IndexRow, member: str) -> bytes:
        """Checked bytes of one member (`image`, `json` or `labels`) of a record; b"" if the record has none."""
        return self._read(row, (member,))[0]

    def record(self, row: IndexRow) -> Record:
        """The parsed `K.json` of a record."""
        return self._record(row, self.member(row, "json"))

    def labels(self, row: IndexRow) -> UInt8 | None:
        """The patch labels of a record, uint8 [targets, grid height, grid width]; None without targets."""
        return _labels(row, self.member(row, "labels"))

    def load(self, row: IndexRow) -> Loaded:
        """All members of a record, by one read."""
        image, json, labels = self._read(row, MEMBERS)
        return Loaded(row, self._record(row, json), image or None, _labels(row, labels))

    def _read(self, row: IndexRow, members: tuple[str, ...]) -> list[bytes]:
        """Some members, in the order of MEMBERS."""
        if row.shard not in self._sizes:  # it may lead anywhere
            raise StampError(f"{self.store}/{INDEX}: {row.shard[:100]!r} is not the name of a shard")
        size, spans = self._sizes[row.shard], [row.span(member) for member in members]
        for member, (offset, length, _) in zip(members, spans, strict=True):
            if length and not 0 <= offset <= offset + length <= size:
                raise self._damaged(row, member)
        try:
            return [bytes(part) for part in read_members(self.tars, row.shard, spans)]
        except Damaged as fault:
            raise self._damaged(row, members[fault.member]) from None

    def _damaged(self, row: IndexRow, member: str) -> StampError:
        more = "` says more" if is_url(self.store) else " --repair --root ROOT` rebuilds the shard"
        return StampError(
            f"{self.store}/{row.shard}: {row.member_name(member)} is damaged (bytes differ from the index)",
            f"`stamp-data verify {self.store}{more}",
        )

    def _record(self, row: IndexRow, data: bytes) -> Record:
        try:
            return msgspec.json.decode(data, type=Record)
        except UNDECODABLE as fault:
            raise StampError(f"{self.store}/{row.shard}: {row.member_name('json')} is no record: {fault}") from None

    def close(self) -> None:
        """Let go of open files."""
        self.tars.close()

    def __enter__(self) -> ShardSet:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _labels(row: IndexRow, data: bytes) -> UInt8 | None:
    return parse_labels(data, row.labels_shape, row.member_name("labels")) if data else None
