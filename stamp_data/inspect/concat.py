"""The sets under inspection as one numbered sequence of records, from which a sample is drawn by hash."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from xxhash import xxh3_64_intdigest

from stamp_data.shards.index import IndexRow, read_table, typed
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import Location
from stamp_schemas import StampError, UsageFault

CHUNK = 512  # index rows turned into typed rows at a time
OPEN_SETS = 32  # readers kept, each with its own file handles


class ConcatDataset:
    """Every built split at or below some paths. Records are numbered through all sets, in set and shard order.

    Not safe to share between threads. Opening it reads the manifests and the indexes, no shard.
    """

    def __init__(self, paths: Sequence[Location]) -> None:
        if not paths:
            raise UsageFault("no path given", "give a folder that `stamp-data build` wrote")
        self.sets = [ShardSet(store) for store in find_sets(*paths)]
        tables = [read_table(one.store) for one in self.sets]
        self.starts = np.cumsum([0] + [len(table) for table in tables])
        self._table = pa.concat_tables(tables, promote_options="default").combine_chunks()
        self._places: dict[tuple[str, str], int] | None = None
        self._open: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __enter__(self) -> ConcatDataset:
        return self

    def __exit__(self, *exception: object) -> None:
        for one in self.sets:
            one.close()

    def number_of_set(self, number: int) -> int:
        """Which set (by position in `sets`) holds record `number`."""
        return int(np.searchsorted(self.starts, number, side="right")) - 1

    def open(self, position: int) -> ShardSet:
        """The reader of a set; the least recently used one beyond `OPEN_SETS` lets go of its files."""
        self._open[position] = None
        self._open.move_to_end(position)
        if len(self._open) > OPEN_SETS:
            self.sets[self._open.popitem(last=False)[0]].close()
        return self.sets[position]

    def rows(self, numbers: Iterable[int]) -> Iterator[tuple[int, ShardSet, IndexRow]]:
        """(number, its set, index row) of each record, in the order given; typed in chunks."""
        pending = list(numbers)
        for start in range(0, len(pending), CHUNK):
            part = pending[start : start + CHUNK]
            for number, row in zip(part, typed(self._table.take(pa.array(part))), strict=True):
                yield number, self.open(self.number_of_set(number)), row

    def column(self, name: str) -> npt.NDArray[np.generic]:
        """A plain index column over all records."""
        values: npt.NDArray[np.generic] = self._table.column(name).to_numpy()
        return values

    def keys(self) -> Iterator[tuple[int, str]]:
        """(position of the set, key) of every record, in order."""
        positions = np.repeat(np.arange(len(self.sets)), np.diff(self.starts)).tolist()
        return zip(positions, self._table.column("key").to_pylist(), strict=True)

    def sample(self, limit: int, seed: int) -> list[int]:
        """Numbers of at most `limit` records, rising. The draw depends on (seed, set name, key) alone.

        So neither the order of the paths nor another set beside it changes which records of a set come first.
        """
        return sorted(self.shuffled(seed)[:limit]) if limit < len(self) else list(range(len(self)))

    def shuffled(self, seed: int) -> list[int]:
        """All record numbers in the order in which `sample` takes them."""
        names = [one.manifest.name for one in self.sets]
        hashes = [xxh3_64_intdigest(f"{seed}/{names[position]}/{key}".encode()) for position, key in self.keys()]
        order: list[int] = np.argsort(np.array(hashes, np.uint64), kind="stable").tolist()
        return order

    def find(self, key: str, set_name: str = "") -> int:
        """Number of the record called `key` (in the set called `set_name`, if given); StampError if there is none."""
        if self._places is None:
            names = [one.manifest.name for one in self.sets]
            self._places = {}
            for number, (position, known) in enumerate(self.keys()):
                self._places[(names[position], known)] = number
                self._places.setdefault(("", known), number)
        try:
            return self._places[(set_name, key)]
        except KeyError:
            place = self.sets[0].place if len(self.sets) == 1 else f"{len(self.sets)} sets"
            raise StampError(f"no record {key!r} in {place}", "`-q` lists the keys") from None
