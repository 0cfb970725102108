"""The order of one set: an endless stream of its dialogues, epoch after epoch, in groups that share an image.

An epoch permutes the shards, cuts them into windows of neighbouring ones, and shuffles all groups within a window. How
many dialogues a shard has stands in the manifest, so the window around any position is found without reading a row, and
then only its own shards' rows are read. Records lie in a shard in the order of their keys' hashes, so that a shard is a
random sample of its set, and a window of shards one of its epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from stamp_data.shards.set_index import SetIndex

Ints = NDArray[np.int64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)


def key_of(*parts: str | int) -> int:
    """A 64-bit key from what names a shuffle, such as seed, set, epoch."""
    return xxh3_64_intdigest("/".join(map(str, parts)).encode())


def permutation(count: int, key: int) -> Ints:
    """The numbers 0 … count - 1 in the order that `key` gives them.

    They are sorted by SplitMix64 of their place. That function maps 64 bits to 64 bits one to one, so no two places tie,
    and the order depends on no sorting algorithm.
    """
    word = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN + np.uint64(key)
    for shift, factor in _MIX:
        word = (word ^ (word >> shift)) * factor
    return np.argsort(word ^ (word >> _LAST))


class Group(NamedTuple):
    """Some dialogues of one record, drawn together so that its image is laid out once.

    source: number of the set in the plan. epoch: of that set, from 0. start: position of the first dialogue in the stream of
    that set. shard, row: the record's place. dialogues: places in the record's list, in the order of the stream.
    """

    source: int
    epoch: int
    start: int
    shard: int
    row: int
    dialogues: tuple[int, ...]

    def cut(self, first: int, last: int) -> Group:
        """Its dialogues number `first` to `last` - 1."""
        return self._replace(start=self.start + first, dialogues=self.dialogues[first:last])


@dataclass(frozen=True)
class _Epoch:
    """The shards in the order of an epoch, and which of them each window holds.

    ends: int64 [windows], dialogues of the epoch up to the end of each window. cuts: int64 [windows + 1], places in `shards`.
    """

    shards: Ints
    ends: Ints
    cuts: Ints


@dataclass(frozen=True)
class _Window:
    """The groups of a window, in order: int64 [groups] each.

    starts: position in the epoch. shards, rows: the record. dialogues: of that record. parts: which group of it.
    """

    starts: Ints
    shards: Ints
    rows: Ints
    dialogues: Ints
    parts: Ints


class SetOrder:
    """The stream of one set.

    index: of the set. source: its number in the plan. key: names the shuffle: equal keys and sets give equal streams. group:
    most dialogues of a record that are drawn together. window: shards that are shuffled together.
    """

    def __init__(self, index: SetIndex, source: int, key: str, group: int, window: int) -> None:
        self.index, self.source, self.key, self.group, self.window = index, source, key, group, window
        self._epoch = lru_cache(maxsize=4)(self._make_epoch)
        self._window = lru_cache(maxsize=4)(self._make_window)

    def walk(self, position: int) -> Iterator[Group]:
        """Groups from the first that begins at or after `position`, without end."""
        epoch, offset = divmod(position, self.index.dialogues)
        while True:
            number = int(np.searchsorted(self._epoch(epoch).ends, offset, side="right"))
            for one in range(number, len(self._epoch(epoch).ends)):
                window = self._window(epoch, one)
                for place in range(int(np.searchsorted(window.starts, offset)), len(window.starts)):
                    yield self._at(epoch, window, place)
            epoch, offset = epoch + 1, 0

    def _at(self, epoch: int, window: _Window, place: int) -> Group:
        """One group: all dialogues of the record, or a run of them, permuted for the epoch."""
        shard, row = int(window.shards[place]), int(window.rows[place])
        dialogues, part = int(window.dialogues[place]), int(window.parts[place])
        start = epoch * self.index.dialogues + int(window.starts[place])
        if dialogues <= self.group:
            return Group(self.source, epoch, start, shard, row, tuple(range(dialogues)))
        parts = -(-dialogues // self.group)
        order = permutation(dialogues, key_of(self.key, epoch, shard, row))
        chosen = order[dialogues * part // parts : dialogues * (part + 1) // parts]
        return Group(self.source, epoch, start, shard, row, tuple(chosen.tolist()))

    def _make_epoch(self, epoch: int) -> _Epoch:
        count = len(self.index.shards)
        shards = permutation(count, key_of(self.key, epoch))
        windows = -(-count // self.window)
        cuts = np.arange(windows + 1) * count // windows  # evenly, so that none is left with too few to shuffle
        ends = np.cumsum(self.index.shard_dialogues[shards])[cuts[1:] - 1]
        return _Epoch(shards, ends, cuts)

    def _make_window(self, epoch: int, number: int) -> _Window:
        layout = self._epoch(epoch)
        shards = layout.shards[layout.cuts[number] : layout.cuts[number + 1]]
        counts = self.index.counts(shards.tolist())
        dialogues = np.concatenate(counts)
        parts = -(-dialogues // self.group)
        record = np.repeat(np.arange(len(dialogues)), parts)
        part = np.arange(len(record)) - np.repeat(np.cumsum(parts) - parts, parts)
        order = permutation(len(record), key_of(self.key, epoch, "window", number))
        record, part = record[order], part[order]
        sizes = dialogues[record] * (part + 1) // parts[record] - dialogues[record] * part // parts[record]
        before = int(layout.ends[number - 1]) if number else 0
        rows = np.concatenate([np.arange(len(one)) for one in counts])
        return _Window(
            starts=before + np.cumsum(sizes) - sizes,
            shards=np.repeat(shards, [len(one) for one in counts])[record],
            rows=rows[record],
            dialogues=dialogues[record],
            parts=part,
        )
