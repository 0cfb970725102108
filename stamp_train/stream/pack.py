"""Which rank computes which part of a global batch, in how many sequences: a pure function of the batch's lengths.

Every rank gets the same number of packs, since they take a step together; and a rank with a shorter pack waits for the
others, so what is made small is the longest pack of every micro-step. A group is cut in two, which costs its image's
prefix again, only where the step gets shorter by it: when there are many ranks to few groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stamp_schemas import UsageFault
from stamp_train.stream.lengths import GroupTokens
from stamp_train.stream.order import Group

GAIN = 0.98  # cutting groups must bring a step below this fraction of what it takes without
EVEN = 1.02  # a longest pack within this of the mean is not worth another exchange
EXCHANGES = 400
HOPELESS = 1.1  # bins this far beyond the budget are not brought within it by exchanges


@dataclass(frozen=True)
class Pack:
    """The groups of one sequence, and its tokens by the index. Empty where a batch has fewer dialogues than packs."""

    groups: tuple[Group, ...]
    tokens: int


@dataclass(frozen=True)
class PackedStep:
    """A global batch, distributed.

    packs: for each rank its packs, equally many; a pack has a place in every rank's micro-step. too_long: (group, place of
    the dialogue in its record, tokens) of dialogues that alone exceed the budget.
    """

    packs: tuple[tuple[Pack, ...], ...]
    too_long: tuple[tuple[Group, int, int], ...]

    @cached_property
    def padding(self) -> float:
        """Fraction of the tokens' time in which ranks wait for the longest pack of a micro-step; 0 for one rank."""
        tokens = sum(pack.tokens for rank in self.packs for pack in rank)
        longest = sum(max(pack.tokens for pack in micro) for micro in zip(*self.packs, strict=True))
        return 1 - tokens / (longest * len(self.packs)) if longest else 0.0


def pack_batch(groups: Sequence[Group], lengths: Sequence[GroupTokens], world: int, budget: int) -> PackedStep:
    """Distribute a global batch over ranks, in packs of at most `budget` tokens; a longer dialogue gets its own."""
    if world < 1 or budget < 1:
        raise UsageFault(f"packing for {world} ranks with {budget} tokens a pack", "both must be at least 1")
    parts = [part for number, tokens in enumerate(lengths) for part in _within(number, tokens, budget)]
    bins = _fill(parts, world, budget, cut=False)
    if any(part.last - part.first > 1 for part in parts):
        cut = _fill(parts, world, budget, cut=True)
        bins = cut if _time(cut, world) < GAIN * _time(bins, world) else bins
    packs = [_pack(groups, one) for one in bins]
    too_long = tuple(
        (group, dialogue, tokens.shared + own)
        for group, tokens in zip(groups, lengths, strict=True)
        for dialogue, own in zip(group.dialogues, tokens.own, strict=True)
        if tokens.shared + own > budget
    )
    return PackedStep(tuple(tuple(packs[rank::world]) for rank in range(world)), too_long)


@dataclass(frozen=True)
class _Part:
    """Dialogues `first` to `last` - 1 of group `number`."""

    number: int
    length: GroupTokens
    first: int
    last: int

    @cached_property
    def tokens(self) -> int:
        return self.length.shared + sum(self.length.own[self.first : self.last])

    def at(self, place: int) -> tuple[_Part, _Part]:
        """The two parts before and from dialogue `place` on."""
        return replace(self, last=place), replace(self, first=place)


def _within(number: int, length: GroupTokens, budget: int) -> list[_Part]:
    """A group as a whole, or in the fewest even parts of at most `budget` tokens each, single dialogues at the least."""
    count = len(length.own)
    for pieces in range(1, count + 1):
        cuts = [count * piece // pieces for piece in range(pieces + 1)]
        parts = [_Part(number, length, first, last) for first, last in pairwise(cuts)]
        if max(part.tokens for part in parts) <= budget:
            break
    return parts


def _fill(parts: Sequence[_Part], world: int, budget: int, *, cut: bool) -> list[list[_Part]]:
    """The parts, which may be `cut` further, in the fewest bins within the budget, a multiple of `world`; the fullest first."""
    limit = max([budget, *(part.tokens for part in parts)])
    rounds = max(-(-sum(part.tokens for part in parts) // (limit * world)), 1)
    while True:
        bins = _Bins(parts, rounds * world)
        enough = limit if world == 1 else 0.0  # one rank waits for nobody: its packs need not be even
        for _ in range(EXCHANGES if bins.loads.max() <= HOPELESS * limit else 0):
            if bins.loads.max() <= max(enough, EVEN * bins.loads.mean()):
                break
            if not (bins.exchange() or (cut and bins.cut())):
                break
        if bins.loads.max() <= limit:
            bins.fill_empty()
            return bins.by_load()
        rounds += 1


class _Bins:
    """Parts in bins, longest first each into the emptiest."""

    def __init__(self, parts: Sequence[_Part], count: int) -> None:
        self.parts = list(parts)
        self.place = np.zeros(len(parts), np.int64)
        self.loads: NDArray[np.float64] = np.zeros(count)
        for part in np.argsort([-part.tokens for part in parts], kind="stable").tolist():
            self.place[part] = self.loads.argmin()
            self.loads[self.place[part]] += parts[part].tokens

    def exchange(self) -> bool:
        """Swap a part of the fullest bin for another bin's, or give it away, if that makes the fuller of the two less full."""
        count = len(self.loads)
        sizes = np.array([part.tokens for part in self.parts], np.float64)
        theirs = np.concatenate([sizes, np.zeros(count)])  # the last ones stand for nothing in return, from each bin
        homes = np.concatenate([self.place, np.arange(count)])
        full = int(self.loads.argmax())
        mine = np.flatnonzero(self.place == full)
        change = sizes[mine][:, None] - theirs
        fuller = np.maximum(self.loads[full] - change, self.loads[homes] + change)
        fuller[:, homes == full] = np.inf
        one, other = (int(at) for at in np.unravel_index(fuller.argmin(), fuller.shape))
        if fuller[one, other] >= self.loads[full]:
            return False
        self.loads[full] -= change[one, other]
        self.loads[homes[other]] += change[one, other]
        self.place[mine[one]] = homes[other]
        if other < len(self.parts):
            self.place[other] = full
        return True

    def cut(self) -> bool:
        """Cut a part of the fullest bin in two and move the second to the emptiest, if the fuller of the two gets less full."""
        full, least = int(self.loads.argmax()), int(self.loads.argmin())
        ways = [
            (max(self.loads[full] - self.parts[at].tokens + before.tokens, self.loads[least] + after.tokens), at, cut)
            for at in np.flatnonzero(self.place == full).tolist()
            for cut in range(self.parts[at].first + 1, self.parts[at].last)
            for before, after in [self.parts[at].at(cut)]
        ]
        fuller, at, cut = min(ways, default=(np.inf, 0, 0))
        if fuller >= self.loads[full]:
            return False
        before, after = self.parts[at].at(cut)
        self.loads[full] += before.tokens - self.parts[at].tokens
        self.loads[least] += after.tokens
        self.parts[at] = before
        self.parts.append(after)
        self.place = np.append(self.place, least)
        return True

    def fill_empty(self) -> None:
        """Give every empty bin something of the fullest one that has more than one dialogue, while there is any."""
        for empty in np.flatnonzero(self.loads == 0).tolist():
            dialogues = np.bincount(self.place, [part.last - part.first for part in self.parts], len(self.loads))
            if dialogues.max(initial=0) < 2:
                return
            full = int(np.where(dialogues > 1, self.loads, -1).argmax())
            at = max(np.flatnonzero(self.place == full).tolist(), key=lambda part: self.parts[part].tokens)
            if np.count_nonzero(self.place == full) > 1:
                self.place[at] = empty
            else:
                before, after = self.parts[at].at((self.parts[at].first + self.parts[at].last) // 2)
                self.parts[at] = before
                self.parts.append(after)
                self.place = np.append(self.place, empty)
            sizes = np.array([part.tokens for part in self.parts], np.float64)
            self.loads = np.bincount(self.place, sizes, len(self.loads)).astype(np.float64)

    def by_load(self) -> list[list[_Part]]:
        """The parts of each bin, the fullest first, so that neighbours, which share a micro-step, are alike."""
        bins: list[list[_Part]] = [[] for _ in self.loads]
        for part, bin_ in zip(self.parts, self.place.tolist(), strict=True):
            bins[bin_].append(part)
        return [bins[number] for number in np.argsort(-self.loads, kind="stable")]


def _time(bins: Sequence[Sequence[_Part]], world: int) -> int:
    """What a step takes: the tokens of the longest pack, which is the first, of each micro-step."""
    return sum(part.tokens for longest in bins[::world] for part in longest)


def _pack(groups: Sequence[Group], parts: Sequence[_Part]) -> Pack:
    """The parts as a pack, in the order of the batch."""
    ordered = sorted(parts, key=lambda part: (part.number, part.first))
    cuts = (groups[part.number].cut(part.first, part.last) for part in ordered)
    return Pack(tuple(cuts), sum(part.tokens for part in parts))
