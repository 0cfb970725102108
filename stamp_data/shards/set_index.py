"""One shard set in arrays: shards from the manifest, their rows from the index, one shard's at a time, and its records.

Nothing here reads the whole index. It is in one row group per shard, and reading all of 10 million records takes some
twenty times as long as the five seconds in which a run should start, so rows are taken when a window reaches them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stamp_data.shards.index import MEMBERS, open_index, told
from stamp_data.shards.manifest import INDEX, MANIFEST, read_manifest, shards_of
from stamp_data.shards.members import BadRecord, Damaged, Parsed, Raw, parse, read_members
from stamp_data.shards.stores import Location, open_store
from stamp_schemas import ShardEntry, StampError

Ints = NDArray[np.int64]
KEPT_SHARDS = 96  # shards whose rows are kept in memory, some 100 kB each
_SPAN = ("offset", "bytes", "xxh3")
_SPANS = [f"{member}_{what}" for member in MEMBERS for what in _SPAN]
_PER_DIALOGUE = ("turns", "masks", "text_chars", "text_tokens")
_COLUMNS = ["shard", *_SPANS, "width", "height", "image_tokens", "dialogues", *_PER_DIALOGUE]


@dataclass(frozen=True)
class ShardRows:
    """The rows of one shard with R records and D dialogues.

    entry: the shard in the manifest. dialogues: int64 [R], dialogues of each record. starts: int64 [R + 1], where the
    dialogues of each record begin in the arrays below. turns, masks, characters: int64 [D], messages, `<|seg|>` and
    characters of each dialogue. tokens: int64 [D], text tokens; None if the set was built without a tokenizer. image_tokens:
    int64 [R], merged patches; 0 without an image. sizes: int64 [R, 2], width and height of each image in pixels. spans:
    uint64 [R, 3, 3], offset, bytes and xxh3 of each record's image, JSON and labels.
    """

    entry: ShardEntry
    dialogues: Ints
    starts: Ints
    turns: Ints
    masks: Ints
    characters: Ints
    tokens: Ints | None
    image_tokens: Ints
    sizes: Ints
    spans: NDArray[np.uint64]


class SetIndex:
    """One built split.

    Safe to share between threads.

    place: a folder, the URL of one, or a store. store, tars: where manifest and index, and where the shards, are read from.
    keep: shards whose rows are kept in memory. StampError: a manifest or an index that is missing, of another version, or not
    of the other.
    """

    def __init__(self, place: Location) -> None:
        self.store = open_store(place)
        self.manifest = read_manifest(self.store)
        if not self.manifest.shards:
            raise StampError(f"{self.store}: a set without shards")
        self.shards: Sequence[ShardEntry] = self.manifest.shards
        self.tars = shards_of(self.store, self.manifest)
        self.keep = KEPT_SHARDS
        self._rows: OrderedDict[int, ShardRows] = OrderedDict()
        self._whole: set[int] = set()  # shards whose size is right
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """`<set>/<split>`."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """The name of the data: BLAKE3 over the shards."""
        return self.manifest.digest

    @cached_property
    def shard_dialogues(self) -> Ints:
        """Dialogues of every shard, from the manifest: int64 [shards]."""
        return np.array([entry.dialogues for entry in self.shards], np.int64)

    @cached_property
    def dialogues(self) -> int:
        """Dialogues of the set."""
        return int(self.shard_dialogues.sum())

    @cached_property
    def _parquet(self) -> pq.ParquetFile:
        parquet = open_index(self.store, _COLUMNS)
        if parquet.num_row_groups != len(self.shards):
            raise self._fault(f"{parquet.num_row_groups} row groups for {len(self.shards)} shards")
        return parquet

    def counts(self, shards: Sequence[int]) -> list[Ints]:
        """Dialogues of every record of each of `shards`: int64 [records] each."""
        with self._lock:
            column = self._table(shards, ["dialogues"])["dialogues"]
        return self._split(column.to_numpy().astype(np.int64), shards)

    def shard(self, number: int) -> ShardRows:
        """All rows of one shard."""
        with self._lock:  # asked for each record: what serves several shards takes a microsecond more
            if rows := self._rows.get(number):
                self._rows.move_to_end(number)
                return rows
        return self.shard_rows([number])[0]

    def shard_rows(self, shards: Sequence[int]) -> list[ShardRows]:
        """All rows of each of `shards`; those not at hand are read together."""
        with self._lock:
            there = {shard: self._rows[shard] for shard in shards if shard in self._rows}
            missing = [shard for shard in dict.fromkeys(shards) if shard not in there]
            if missing:
                table = self._table(missing, _COLUMNS)
                ends = np.cumsum([self.shards[shard].records for shard in missing])
                for shard, end in zip(missing, ends.tolist(), strict=True):
                    records = self.shards[shard].records
                    there[shard] = self._shard_rows(shard, table.slice(end - records, records))
            for shard in there:
                self._rows[shard] = there[shard]
                self._rows.move_to_end(shard)
            while len(self._rows) > max(self.keep, len(there)):
                self._rows.popitem(last=False)
        return [there[shard] for shard in shards]

    def key(self, shard: int, row: int) -> str:
        """The key of one record."""
        with self._lock:
            key: str = self._table([shard], ["key"])["key"][row].as_py()
        return key

    def raw(self, shard: int, row: int) -> Raw:
        """The members of a record. BadRecord if they are damaged; StampError for a shard that is missing, of another size
        than the manifest says, or not the one that the index describes.
        """
        rows = self.shard(shard)
        if shard not in self._whole:
            self._check_size(rows.entry)
            self._whole.add(shard)
        spans = rows.spans[row].tolist()
        try:
            return Raw(*read_members(self.tars, rows.entry.path, spans))
        except Damaged as fault:
            raise self._damage(shard, row, spans[fault.member][0], fault.header) from None

    def parsed(self, shard: int, row: int) -> Parsed:
        """The record itself; see `raw` and `parse`."""
        parsed = parse(*self.raw(shard, row))
        promised = int(self.shard(shard).dialogues[row])
        if len(parsed.record.dialogues) != promised:
            raise StampError(
                f"{self.tars}/{self.shards[shard].path}: {parsed.record.key} has {len(parsed.record.dialogues)} dialogues, "
                f"the index says {promised}",
                f"`stamp-data verify {self.store}` says more",
            )
        return parsed

    def _check_size(self, entry: ShardEntry) -> None:
        """A shard that was cut off between two members is a whole tar to everything but its length."""
        size = self.tars.size(entry.path)
        if size != entry.bytes:
            raise StampError(
                f"{self.tars}/{entry.path}: {size:,} bytes, the manifest says {entry.bytes:,}",
                f"cut off? `stamp-data verify {self.store} --repair --root ROOT` rebuilds it",
            )

    def _damage(self, shard: int, row: int, offset: int, header: bytes) -> Exception:
        """What other bytes than the index says mean: where the tar's header names another record, the two are of two builds."""
        key = self.key(shard, row)
        name = header[:100].rstrip(b"\0").decode("ascii", "replace")
        if not name.startswith(f"{key}."):
            return StampError(
                f"{self.tars}/{self.shards[shard].path}: the index has {key} at byte {offset:,}, the tar has {name[:90]!r}",
                f"files of two builds? `stamp-data verify {self.store}` says more",
            )
        return BadRecord("damaged", f"{name}: bytes differ from the index")

    def _table(self, shards: Sequence[int], columns: list[str]) -> pa.Table:
        parquet = self._parquet
        with told(self.store):
            table = parquet.read_row_groups(list(shards), columns=columns, use_threads=False)
        if table.num_rows != sum(self.shards[shard].records for shard in shards):
            raise self._fault(f"{table.num_rows} rows for {[self.shards[shard].path for shard in shards][:3]}")
        return table

    def _split(self, counts: Ints, shards: Sequence[int]) -> list[Ints]:
        """The counts of each shard, checked against the manifest."""
        parts = np.split(counts, np.cumsum([self.shards[shard].records for shard in shards])[:-1])
        for shard, part in zip(shards, parts, strict=True):
            entry = self.shards[shard]
            if int(part.sum()) != entry.dialogues or (len(part) and part.min() < 1):
                raise self._fault(f"{entry.path} has {part.sum()} dialogues in one, {entry.dialogues} in the other")
        return parts

    def _shard_rows(self, shard: int, table: pa.Table) -> ShardRows:
        entry = self.shards[shard]
        if table["shard"].unique().to_pylist() != [entry.path]:
            raise self._fault(f"row group {shard} is not of {entry.path}")
        column = {name: table[name].to_numpy() for name in (*_SPANS, "width", "height", "image_tokens", "dialogues")}
        counts = self._split(column["dialogues"].astype(np.int64), [shard])[0]
        ragged = {name: _flat(table[name]) for name in _PER_DIALOGUE}
        if any(values is not None and len(values) != entry.dialogues for values in ragged.values()):
            raise self._fault(f"{entry.path}: lists that have not one entry per dialogue")
        columns = [[column[f"{member}_{what}"].astype(np.uint64) for what in _SPAN] for member in MEMBERS]
        spans = np.array(columns).transpose(2, 0, 1).copy()
        offsets, sizes = spans[:, :, 0], spans[:, :, 1]  # unsigned: one below zero is a large one
        if offsets.max() > entry.bytes or sizes.max() > entry.bytes or (offsets + sizes).max() > entry.bytes:
            raise self._fault(f"{entry.path} has {entry.bytes:,} bytes, the index places members beyond")
        turns, masks, characters = ragged["turns"], ragged["masks"], ragged["text_chars"]
        assert turns is not None and masks is not None and characters is not None  # their columns hold no nulls
        return ShardRows(
            entry=entry,
            dialogues=counts,
            starts=np.concatenate([[0], np.cumsum(counts)]),
            turns=turns,
            masks=masks,
            characters=characters,
            tokens=ragged["text_tokens"],
            image_tokens=column["image_tokens"].astype(np.int64),
            sizes=np.stack([column["width"], column["height"]], 1).astype(np.int64),
            spans=spans,
        )

    def _fault(self, what: str) -> StampError:
        return StampError(
            f"{self.store}: {INDEX} and {MANIFEST} disagree: {what}",
            f"files of two builds? `stamp-data verify {self.store}` says more",
        )


def _flat(column: pa.ChunkedArray) -> Ints | None:
    """The values of a column of lists, one after another; None if any list is missing."""
    if column.null_count:
        return None
    values: Ints = pc.list_flatten(column).to_numpy().astype(np.int64)
    return values
