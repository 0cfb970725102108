"""Which records a renderer shows: a seeded draw, those that meet a condition, or the first of an order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.filters import DialogueRow, Filter, Sort, Value
from stamp_data.inspect.reading import StatsReader, matching
from stamp_data.inspect.record_stats import DialogueStats, RecordStats
from stamp_data.shards.stores import Location


@dataclass(frozen=True)
class Selected:
    """A record to show, with those of its dialogues that were asked for."""

    stats: RecordStats
    dialogues: list[DialogueStats]


def select(
    reader: StatsReader, *, limit: int | None, seed: int = 0, where: str | None = None, sort: str | None = None
) -> Iterator[Selected]:
    """At most `limit` records (all if None) in their order, or in the order of `sort`.

    Without `sort` the records are those that come first in the seeded draw, so a condition is tried on no more records
    than needed; with it every record is looked at twice. Records that cannot be read are passed over: they have no
    picture to show, and `examine` reports them.
    """
    dataset = reader.dataset
    condition = Filter.parse(where) if where else None
    if sort is not None:
        numbers = _sorted_numbers(reader, condition, Sort.parse(sort))[:limit]
    elif limit is None:
        numbers = list(range(len(dataset)))
    elif condition is None:
        numbers = dataset.sample(limit, seed)
    else:
        found = (selected.stats.number for selected in _selected(reader, dataset.shuffled(seed), condition))
        numbers = sorted(islice(found, limit))
    return _selected(reader, numbers, condition)


def _selected(reader: StatsReader, numbers: list[int], condition: Filter | None) -> Iterator[Selected]:
    for item in reader.read(numbers):
        if isinstance(item, RecordStats) and (dialogues := matching(item, condition)):
            yield Selected(item, dialogues)


def _sorted_numbers(reader: StatsReader, condition: Filter | None, order: Sort) -> list[int]:
    """Records by the best value among their matching dialogues; equal ones stay in their order."""
    best = max if order.falling else min
    places: list[tuple[Value, int]] = []
    for selected in _selected(reader, list(range(len(reader.dataset))), condition):
        values = [DialogueRow(selected.stats, dialogue)[order.column] for dialogue in selected.dialogues]
        places.append((best(values), selected.stats.number))
    places.sort(key=lambda place: place[0], reverse=order.falling)
    return [number for _, number in places]


def record_keys(
    paths: Sequence[Location],
    *,
    limit: int | None = None,
    seed: int = 0,
    where: str | None = None,
    sort: str | None = None,
    side: int = 1,
) -> Iterator[str]:
    """The keys of the records that `select` takes; from the index alone where nothing is asked of the records."""
    with ConcatDataset(paths) as dataset:
        if where or sort:
            for selected in select(StatsReader(dataset, side=side), limit=limit, seed=seed, where=where, sort=sort):
                yield selected.stats.record.key
        else:
            wanted = set(range(len(dataset)) if limit is None else dataset.sample(limit, seed))
            for number, (_, key) in enumerate(dataset.keys()):
                if number in wanted:
                    yield key
