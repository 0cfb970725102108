"""What pages filter and sort records by; the served one's is gathered by one thread while it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.near import NearPictures
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.selection import Selection, select
from stamp_data.inspect.statistics import DIGITS, Tally
from stamp_data.shards.stores import Location
from stamp_data.tags import TagList

_PATIENCE = 0.5  # seconds


class Facets(msgspec.Struct, frozen=True):
    """By filter of the page: the choices under which a record is shown. flagged: `1`, or nothing."""

    source: tuple[str, ...]
    split: tuple[str, ...]
    kind: tuple[str, ...]
    flag: tuple[str, ...]
    flagged: tuple[str, ...]


class Sorts(msgspec.Struct, frozen=True):
    """By order of the page: the lowest and the highest value of a record, for rising and falling."""

    area: tuple[float, float]
    iou: tuple[float, float]
    total: tuple[float, float]
    dialogues: tuple[float, float]
    flags: tuple[float, float]


class Numbers(msgspec.Struct, frozen=True):
    """A record's share of the statistics. kinds: dialogues by kind; values: as of `Tally`."""

    kinds: dict[str, int]
    targets: int
    values: dict[str, list[float]]


class Entry(msgspec.Struct, frozen=True):
    """What a page that holds its records filters and sorts one by, besides its texts, and what it counts. near: name of the
    group of nearly the same pictures, "" for none; not known of records that are served.
    """

    facets: Facets
    sorts: Sorts
    numbers: Numbers
    near: str = ""


class Query(msgspec.Struct, frozen=True):
    """What the page asks for, "" for any. q: words; tag: that a record has; near: a group of nearly the same pictures,
    or `any`; sort: of `Sorts`, -NAME for falling; the others: as in `Facets`.
    """

    q: str = ""
    source: str = ""
    split: str = ""
    kind: str = ""
    flag: str = ""
    flagged: str = ""
    tag: str = ""
    near: str = ""
    sort: str = ""

    def fits(self, facets: Facets) -> bool:
        return all(
            wanted in getattr(facets, name) for name in facets.__struct_fields__ if (wanted := getattr(self, name))
        )


def entry(stats: RecordStats) -> Entry:
    """What one record is filtered and sorted by."""
    settings, dialogues = stats.manifest.settings, stats.shown
    kinds = tuple(sorted({dialogue.kind for dialogue in dialogues}))
    codes = tuple(sorted({finding.code for finding in stats.findings}))
    sorts = Sorts(
        area=_range([dialogue.area for dialogue in dialogues]),
        iou=_range([dialogue.iou for dialogue in dialogues]),
        total=_range([dialogue.total_tokens for dialogue in dialogues]),
        dialogues=_range([len({dialogue.twin for dialogue in dialogues})]),
        flags=_range([len(stats.findings)]),
    )
    tally = Tally()
    tally.add(stats)
    values = {name: [round(value, DIGITS) for value in found] for name, found in tally.values.items()}
    numbers = Numbers(dict(tally.kinds), tally.targets, values)
    return Entry(_facets(settings.dataset, settings.split, kinds, codes), sorts, numbers)


@lru_cache(maxsize=4096)
def _facets(source: str, split: str, kinds: tuple[str, ...], codes: tuple[str, ...]) -> Facets:
    """Most records share theirs with many others."""
    return Facets((source,), (split,), kinds, codes, ("1",) if codes else ())


def _range(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


class SearchIndex:
    """Entries of all records that match `where`, in their order or that of `sort`; safe to ask while it grows.

    keep: told of every record by the thread that gathers, before the record can be found. tags: of records.
    near: pictures, which are compared once a query asks for them.
    """

    def __init__(
        self,
        paths: Sequence[Location],
        selection: Selection,
        keep: Callable[[RecordStats], None] = lambda _: None,
        tags: TagList | None = None,
    ) -> None:
        self._tags = tags or TagList()
        self.near = NearPictures(paths)
        self._paths, self._selection, self._keep = paths, selection, keep
        self._entries: list[tuple[int, str, Entry, tuple[str, str]]] = []  # number, texts in lower case, …, set and key
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._gather, name="search index", daemon=True)
        self.scanned = 0
        self.done = False
        self.fault = ""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Have the thread stop, and wait a little for it: one that sorts cannot be told, and goes with the process."""
        self._stop.set()
        self.near.close()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def find(self, query: Query) -> list[int]:
        """Numbers of the records so far that fit, in the order asked for."""
        return [number for number, _ in self._found(query)]

    def numbers(self, query: Query) -> list[Numbers]:
        """What the statistics count of the records so far that fit."""
        return [one.numbers for _, one in self._found(query)]

    def _found(self, query: Query) -> list[tuple[int, Entry]]:
        words, near = query.q.lower().split(), self.near
        if query.near:
            near.start()
        found = [
            (number, one)
            for number, text, one, named in self._entries[: len(self._entries)]
            if query.fits(one.facets)
            and all(word in text for word in words)
            and (not query.tag or query.tag in self._tags.of(*named))
            and (not query.near or near.fits(number, query.near))
        ]
        column, falling = query.sort.removeprefix("-"), query.sort.startswith("-")
        if column in Sorts.__struct_fields__:
            found.sort(key=lambda pair: getattr(pair[1].sorts, column)[falling], reverse=falling)
        elif query.near:
            found.sort(key=lambda pair: int(near.groups[pair[0]]))  # side by side
        return found

    def _gather(self) -> None:
        try:
            with ConcatDataset(self._paths) as dataset:
                for stats in select(dataset, self._selection, None):
                    self._keep(stats)
                    named = (stats.manifest.name, stats.record.key)
                    self._entries.append((stats.number, _search_text(stats), entry(stats), named))
                    self.scanned = len(self._entries) if self._selection.sort else stats.number + 1
                    if self._stop.is_set():
                        return
        except Exception as fault:  # a thread has nobody to raise to: the page shows it
            self.fault = str(fault)
        finally:
            self.done = True


def _search_text(stats: RecordStats) -> str:
    record = stats.record
    texts = [record.key, record.image.file_name if record.image else ""]
    for target in record.targets:
        texts += [target.id, *target.categories]
    for dialogue in record.dialogues:
        texts += dialogue.expressions
        texts += [content.text for message in dialogue.messages for content in message.content]
    return "\n".join(dict.fromkeys(texts)).lower()
