"""What pages filter and sort records by; the served one's is gathered by one thread while it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.near import NearPictures
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.selection import Selection, select
from stamp_data.inspect.statistics import DIGITS, Tally
from stamp_data.shards.stores import Location
from stamp_data.tags import TagList

_PATIENCE = 0.5  # seconds


SORTS: dict[str, Callable[[RecordStats], list[float]]] = {
    "area": lambda stats: [dialogue.area for dialogue in stats.shown],
    "iou": lambda stats: [dialogue.iou for dialogue in stats.shown],
    "total": lambda stats: [dialogue.total_tokens for dialogue in stats.shown],
    "dialogues": lambda stats: [len({dialogue.twin for dialogue in stats.shown})],
    "flags": lambda stats: [len(stats.findings)],
}
"""By order of the page: the values of a record, of which the lowest counts for rising and the highest for falling."""


class Entry(msgspec.Struct, frozen=True):
    """What a page filters and sorts a record by, besides its texts, and what it counts.

    facets: by filter of the page, the choices under which the record is shown. sorts: as of `SORTS`, lowest and highest.
    numbers: kinds, targets and values of a `Tally`.
    """

    facets: dict[str, tuple[str, ...]]
    sorts: dict[str, tuple[float, float]]
    numbers: dict[str, Any]


class Query(msgspec.Struct, frozen=True):
    """What the page asks for, "" for any. q: words; tag: that a record has; near: a group of nearly the same pictures,
    or `any`; sort: of `SORTS`, -NAME for falling; the others: facets of an `Entry`.
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

    def fits(self, facets: dict[str, tuple[str, ...]]) -> bool:
        return all(not getattr(self, name) or getattr(self, name) in choices for name, choices in facets.items())


def entry(stats: RecordStats) -> Entry:
    """What one record is filtered and sorted by."""
    settings = stats.manifest.settings
    kinds = tuple(sorted({dialogue.kind for dialogue in stats.shown}))
    codes = tuple(sorted({finding.code for finding in stats.findings}))
    sorted_by = {name: values_of(stats) for name, values_of in SORTS.items()}
    tally = Tally()
    tally.add(stats)
    counted = {name: [round(value, DIGITS) for value in values] for name, values in tally.values.items()}
    return Entry(
        facets=_facets(settings.dataset, settings.split, kinds, codes),
        sorts={name: (min(values), max(values)) for name, values in sorted_by.items()},
        numbers={"kinds": dict(tally.kinds), "targets": tally.targets, "values": counted},
    )


@lru_cache(maxsize=4096)
def _facets(source: str, split: str, kinds: tuple[str, ...], codes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Most records share theirs with many others."""
    flagged = ("1",) if codes else ()
    return {"source": (source,), "split": (split,), "kind": kinds, "flag": codes, "flagged": flagged}


class SearchIndex:
    """Entries of all records that match `where`, in their order or that of `sort`; safe to ask while it grows.

    keep: told of every record by the thread that gathers, before the record can be found. tags: of records.
    near: pictures, which are compared once a query asks for them.
    """

    def __init__(
        self, paths: Sequence[Location], selection: Selection, keep: Callable[[RecordStats], None], tags: TagList
    ) -> None:
        self.near = NearPictures(paths)
        self._paths, self._selection, self._keep, self._tags = paths, selection, keep, tags
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

    def numbers(self, query: Query) -> list[dict[str, Any]]:
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
        if column in SORTS:
            found.sort(key=lambda pair: pair[1].sorts[column][falling], reverse=falling)
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
