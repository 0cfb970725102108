"""Which records a renderer shows: a seeded draw, those that meet a condition, or the first of an order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from stamp_data.inspect.corpus import Corpus
from stamp_data.inspect.facts import DialogueFacts, Facts
from stamp_data.inspect.filters import DialogueRow, Filter, Sort, Value
from stamp_data.inspect.look import Looker, matching
from stamp_data.shards.stores import Location


@dataclass(frozen=True)
class Pick:
    """A record to show, with those of its dialogues that were asked for."""

    facts: Facts
    dialogues: list[DialogueFacts]


def select(
    looker: Looker, *, limit: int | None, seed: int = 0, where: str | None = None, sort: str | None = None
) -> Iterator[Pick]:
    """At most `limit` records (all if None) in corpus order, or in the order of `sort`.

    Without `sort` the records are those that come first in the seeded draw, so a condition is tried on no more records
    than needed; with it every record is looked at twice. Records that cannot be read are passed over: they have no
    picture to show, and `examine` reports them.
    """
    corpus = looker.corpus
    condition = Filter.parse(where) if where else None
    if sort is not None:
        numbers = _sorted_numbers(looker, condition, Sort.parse(sort))[:limit]
    elif limit is None:
        numbers = list(range(len(corpus)))
    elif condition is None:
        numbers = corpus.sample(limit, seed)
    else:
        found = (pick.facts.number for pick in _picks(looker, corpus.shuffled(seed), condition))
        numbers = sorted(islice(found, limit))
    return _picks(looker, numbers, condition)


def _picks(looker: Looker, numbers: list[int], condition: Filter | None) -> Iterator[Pick]:
    for item in looker.look(numbers):
        if isinstance(item, Facts) and (dialogues := matching(item, condition)):
            yield Pick(item, dialogues)


def _sorted_numbers(looker: Looker, condition: Filter | None, order: Sort) -> list[int]:
    """Records by the best value among their matching dialogues; equal ones stay in corpus order."""
    best = max if order.falling else min
    places: list[tuple[Value, int]] = []
    for pick in _picks(looker, list(range(len(looker.corpus))), condition):
        values = [DialogueRow(pick.facts, dialogue)[order.column] for dialogue in pick.dialogues]
        places.append((best(values), pick.facts.number))
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
    with Corpus(paths) as corpus:
        if where or sort:
            for pick in select(Looker(corpus, side=side), limit=limit, seed=seed, where=where, sort=sort):
                yield pick.facts.record.key
        else:
            wanted = set(range(len(corpus)) if limit is None else corpus.sample(limit, seed))
            for number, (_, key) in enumerate(corpus.keys()):
                if number in wanted:
                    yield key
