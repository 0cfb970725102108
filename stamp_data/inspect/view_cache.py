"""Views of records for the server, made once and kept: many may ask for the same, and one is made at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from urllib.parse import quote, urlencode

import msgspec

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.reading import StatsReader
from stamp_data.inspect.record_page import record_view
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.selection import Selection
from stamp_data.shards.index import IndexRow
from stamp_data.shards.stores import Location
from stamp_schemas import StampError

LIMIT = 128 << 20  # bytes of views kept: of some 20,000 records


class ViewCache:
    """Safe to share between threads; the readers behind it are not, so that one thread at a time uses them."""

    def __init__(self, paths: Sequence[Location], selection: Selection, limit: int = LIMIT) -> None:
        self._lock = threading.Lock()
        self._dataset = ConcatDataset(paths)
        self._reader = StatsReader(self._dataset, selection)
        self._views: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        self._limit = limit
        self._closed = False

    def __len__(self) -> int:
        return len(self._dataset)

    def views(self, numbers: Iterable[int]) -> dict[int, msgspec.Raw]:
        """The view of each record as JSON, by number, in order; records that cannot be read are left out."""
        return {number: msgspec.Raw(view) for number in numbers if (view := self._view(number))}

    def find(self, key: str, set_name: str) -> int:
        """Number of a record; StampError if there is none."""
        with self._lock:
            return self._dataset.find(key, set_name)

    def picture(self, number: int) -> tuple[bytes, IndexRow]:
        """The original bytes of a record's picture, b"" if it has none, and the record's row."""
        with self._lock:
            _, one, row = next(self._dataset.rows([number]))
            return one.member(row, "image"), row

    def keep(self, stats: RecordStats) -> None:
        """Make the view of a record that has been read, before anybody asks for it, as long as there is room."""
        if self._bytes < self._limit and not self._closed:
            view = _encoded(stats)
            with self._lock:
                self._put(stats.number, view)

    def close(self) -> None:
        """Let go of the files; whoever still waits for a view gets a StampError."""
        self._closed = True
        with self._lock, self._dataset:
            pass

    def _view(self, number: int) -> bytes:
        """JSON of one view, b"" if the record cannot be read."""
        with self._lock:
            if self._closed:
                raise StampError("the server is closing")
            known = self._views.get(number)
            if known is None:
                known = self._make(number)
            self._put(number, known)
            return known

    def _put(self, number: int, view: bytes) -> None:
        """As the one that was asked for last; those that have not been for longest give way."""
        self._bytes += len(view) - len(self._views.get(number, b""))
        self._views[number] = view
        self._views.move_to_end(number)
        while self._bytes > self._limit and len(self._views) > 1:
            self._bytes -= len(self._views.popitem(last=False)[1])

    def _make(self, number: int) -> bytes:
        stats = next(iter(self._reader.read([number])))
        if not isinstance(stats, RecordStats):
            return b""
        stats.shown = stats.shown or stats.dialogues
        return _encoded(stats)


def _encoded(stats: RecordStats) -> bytes:
    address = urlencode({"set": stats.manifest.name, "key": stats.record.key}, quote_via=quote)
    return msgspec.json.encode(record_view(stats, f"api/picture?{address}" if stats.row.image_bytes else ""))
