"""What the served page filters and sorts by: a few facts of every record, gathered by one thread while the page is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.reading import StatsReader
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.selection import Selected, select
from stamp_data.shards.stores import Location

_PATIENCE = 0.5  # seconds


@dataclass(frozen=True)
class Entry:
    """One record that can be shown. text: all that search looks at, in lower case."""

    number: int
    source: str
    split: str
    kinds: frozenset[str]
    codes: frozenset[str]
    text: str
    areas: tuple[float, float]
    ious: tuple[float, float]
    totals: tuple[float, float]
    dialogues: int
    flags: int


@dataclass(frozen=True)
class Query:
    """The filters of the page, as its script names them; "" for any. sort: as in gallery_state.js."""

    q: str = ""
    source: str = ""
    split: str = ""
    kind: str = ""
    flag: str = ""
    flagged: str = ""
    sort: str = ""

    def fits(self, entry: Entry, words: list[str]) -> bool:
        """Whether a record passes. words: those of `q`, in lower case."""
        return (
            (not self.source or entry.source == self.source)
            and (not self.split or entry.split == self.split)
            and (not self.kind or self.kind in entry.kinds)
            and (not self.flag or self.flag in entry.codes)
            and (not self.flagged or entry.flags > 0)
            and all(word in entry.text for word in words)
        )


class SearchIndex:
    """Entries of all records that match `where`, in their order or that of `sort`; safe to ask while it grows.

    then: called by the thread that gathers, once all is gathered, with the numbers of the records and when to stop.
    """

    def __init__(
        self,
        paths: Sequence[Location],
        *,
        where: str | None = None,
        sort: str | None = None,
        budget: int | None = None,
        side: int = 1,
        then: Callable[[Sequence[int], threading.Event], None] = lambda *_: None,
    ) -> None:
        self._paths, self._where, self._sort, self._budget, self._side = paths, where, sort, budget, side
        self._then = then
        self._entries: list[Entry] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._gather, name="catalogue", daemon=True)
        self.scanned = 0
        self.done = False
        self.fault = ""

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Have the thread stop, and wait a little for it: one that sorts cannot be told, and goes with the process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def find(self, query: Query) -> list[Entry]:
        """The entries so far that fit, in the order asked for."""
        entries = self._entries[: len(self._entries)]
        words = query.q.lower().split()
        found = [entry for entry in entries if query.fits(entry, words)]
        column, falling = query.sort.removeprefix("-"), query.sort.startswith("-")
        if column in SORTS:
            found.sort(key=lambda entry: SORTS[column](entry)[falling], reverse=falling)
        return found

    def _gather(self) -> None:
        try:
            with ConcatDataset(self._paths) as dataset:
                for selected in select(
                    StatsReader(dataset, self._budget, self._side), limit=None, where=self._where, sort=self._sort
                ):
                    self._entries.append(_entry(selected))
                    self.scanned = len(self._entries) if self._sort else selected.stats.number + 1
                    if self._stop.is_set():
                        return
        except Exception as fault:  # a thread has nobody to raise to: the page shows it
            self.fault = str(fault)
        finally:
            self.done = True
        if not self.fault:
            self._then([entry.number for entry in self._entries], self._stop)


SORTS: dict[str, Callable[[Entry], tuple[float, float]]] = {
    "area": lambda entry: entry.areas,
    "iou": lambda entry: entry.ious,
    "total": lambda entry: entry.totals,
    "dialogues": lambda entry: (entry.dialogues, entry.dialogues),
    "flags": lambda entry: (entry.flags, entry.flags),
}


def _entry(selected: Selected) -> Entry:
    stats, dialogues = selected.stats, selected.dialogues
    settings = stats.manifest.settings
    return Entry(
        number=stats.number,
        source=settings.dataset,
        split=settings.split,
        kinds=frozenset(dialogue.kind for dialogue in dialogues),
        codes=frozenset(finding.code for finding in stats.findings),
        text=_search_text(stats),
        areas=_range([dialogue.area for dialogue in dialogues]),
        ious=_range([dialogue.iou for dialogue in dialogues]),
        totals=_range([dialogue.total_tokens for dialogue in dialogues]),
        dialogues=len({dialogue.twin for dialogue in dialogues}),
        flags=len(stats.findings),
    )


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _search_text(stats: RecordStats) -> str:
    record = stats.record
    texts = [record.key, record.image.file_name if record.image else ""]
    for target in record.targets:
        texts += [target.id, *target.categories]
    for dialogue in record.dialogues:
        texts.append(dialogue.expression)
        texts += [content.text for message in dialogue.messages for content in message.content]
    return "\n".join(dict.fromkeys(texts)).lower()
