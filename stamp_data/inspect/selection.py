"""Which records are shown: a seeded draw, those that meet a condition, or the first of an order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.filters import DialogueRow, Filter, Sort, Value
from stamp_data.inspect.reading import StatsReader
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.shards.stores import Location
from stamp_schemas import StampError


@dataclass(frozen=True)
class Selection:
    """What every renderer is asked for. where: a condition on dialogues (`filters.COLUMNS`); sort: a column, -column for
    falling; seed: of draws. budget: tokens that a packed sequence may have (STP-W009, and marked in the histogram). side:
    labels along a patch's side of the model that is to learn from the sets. UsageFault for what cannot be parsed.
    """

    where: str | None = None
    sort: str | None = None
    seed: int = 0
    budget: int | None = None
    side: int = 1

    def __post_init__(self) -> None:
        self.condition, self.order  # noqa: B018 - parsed before any work

    @cached_property
    def condition(self) -> Filter | None:
        """`where`, parsed."""
        return Filter.parse(self.where) if self.where else None

    @cached_property
    def order(self) -> Sort | None:
        """`sort`, parsed."""
        return Sort.parse(self.sort) if self.sort is not None else None

    def nothing(self) -> StampError:
        """That no record is left."""
        return StampError("no record to show" + (f": none matches --where {self.where}" if self.where else ""))


DEFAULT = Selection()


def select(dataset: ConcatDataset, selection: Selection, limit: int | None) -> Iterator[RecordStats]:
    """At most `limit` records (all if None) with a dialogue to show, in their order or in that of `sort`.

    Without `sort` the records are those that come first in the seeded draw, so a condition is tried on no more records
    than needed; with it every record is looked at twice. Records that cannot be read are passed over: they have no
    picture to show, and `inspect_sets` reports them.
    """
    reader = StatsReader(dataset, selection)
    if selection.order is not None:
        numbers = _sorted_numbers(reader, selection.order)[:limit]
    elif limit is None:
        numbers = list(range(len(dataset)))
    elif selection.condition is None:
        numbers = dataset.sample(limit, selection.seed)
    else:
        found = _shown(reader, dataset.shuffled(selection.seed))
        numbers = sorted(stats.number for stats in islice(found, limit))
    return _shown(reader, numbers)


def _shown(reader: StatsReader, numbers: list[int]) -> Iterator[RecordStats]:
    return (stats for stats in reader.read(numbers) if isinstance(stats, RecordStats) and stats.shown)


def _sorted_numbers(reader: StatsReader, order: Sort) -> list[int]:
    """Records by the best value among their matching dialogues; equal ones stay in their order."""
    best = max if order.falling else min
    values: dict[int, Value] = {}
    for stats in _shown(reader, list(range(len(reader.dataset)))):
        values[stats.number] = best(DialogueRow(stats, dialogue)[order.column] for dialogue in stats.shown)
    return sorted(values, key=values.__getitem__, reverse=order.falling)


def record_keys(paths: Sequence[Location], selection: Selection = DEFAULT, limit: int | None = None) -> Iterator[str]:
    """The keys of the records that `select` takes; from the index alone where nothing is asked of the records."""
    with ConcatDataset(paths) as dataset:
        if selection.where or selection.sort:
            yield from (stats.record.key for stats in select(dataset, selection, limit))
            return
        wanted = set(range(len(dataset)) if limit is None else dataset.sample(limit, selection.seed))
        yield from (key for number, (_, key) in enumerate(dataset.keys()) if number in wanted)
