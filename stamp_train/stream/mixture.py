"""Several sets in exact proportions: which groups, of which set, follow one another.

Every set has a rate. The group that begins at dialogue s of its own set's stream is due at (s + ½) / rate, and groups are
drawn in the order in which they are due. So proportions hold to within a few dialogues at every point of the stream, no
set's stream depends on the others, and the state of the whole mixture is the number of dialogues drawn.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import lcm

import msgspec

from stamp_schemas import UsageFault
from stamp_train.stream.order import Group, SetOrder


class Mixture(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each set: `passes` over it, or `weights`, one number per set; with neither, one pass over each.

    Passes say when the stream ends: after all of them, all sets ending together. With weights it never ends.
    """

    passes: tuple[float, ...] | None = None
    weights: tuple[float, ...] | None = None

    def rates(self, dialogues: Sequence[int]) -> list[int]:
        """Whole numbers in proportion to the dialogues drawn from each set; for passes, those numbers themselves.

        dialogues: of each set. UsageFault if the mixture does not fit the sets.

        >>> Mixture(passes=(3, 1)).rates([100, 400])
        [300, 400]
        >>> Mixture(weights=(0.75, 0.25)).rates([100, 400])
        [3, 1]
        """
        given = self.passes if self.weights is None else self.weights
        if self.passes is not None and self.weights is not None:
            raise UsageFault("a mixture by passes and by weights", "give one of them")
        if given is None:
            return list(dialogues)
        if len(given) != len(dialogues):
            raise UsageFault(f"a mixture of {len(given)} numbers for {len(dialogues)} sets", "give one for each set")
        exact = [Fraction(str(number)) for number in given]  # the decimal that was written, not its nearest binary
        if min(exact) <= 0:
            raise UsageFault(f"a mixture with the number {min(given)}", "leave out a set that is not wanted")
        if self.weights is None:
            return [max(1, round(passes * count)) for passes, count in zip(exact, dialogues, strict=True)]
        whole = lcm(*(weight.denominator for weight in exact))
        return [int(weight * whole) for weight in exact]


class MixedOrder:
    """The merged stream of some sets. orders: of the sets. rates: of each."""

    def __init__(self, orders: Sequence[SetOrder], rates: Sequence[int]) -> None:
        self.orders = orders
        whole = lcm(*rates)
        self._steps = [whole // rate for rate in rates]  # a group that begins at s is due at (2s + 1) · step

    def draw(self, start: int, count: int) -> list[Group]:
        """The groups that hold dialogues `start` to `start + count` - 1; the first and the last may be cut to fit."""
        groups: list[Group] = []
        position, begin = self._near(start)
        for group in self._merged(begin):
            size = len(group.dialogues)
            first, last = max(start - position, 0), min(start + count - position, size)
            if first < last:
                groups.append(group if last - first == size else group.cut(first, last))
            position += size
            if position >= start + count:
                break
        return groups

    def _merged(self, begin: Sequence[int]) -> Iterator[Group]:
        """Groups of all sets as they are due, from the first of each that begins at or after its entry of `begin`."""

        def due(group: Group) -> tuple[int, int]:
            return (2 * group.start + 1) * self._steps[group.source], group.source

        return heapq.merge(*(order.walk(at) for order, at in zip(self.orders, begin, strict=True)), key=due)

    def _near(self, start: int) -> tuple[int, list[int]]:
        """A position of the stream, at most `start` and little less, and where each set stands there."""
        aim = start
        while True:
            counts = self._counts(max(aim, 0))
            begin = [
                next(order.walk(count)).start if count else 0 for order, count in zip(self.orders, counts, strict=True)
            ]
            position = sum(begin)
            if position <= start:
                return position, begin
            aim -= position - start  # groups that begin before their place may run past it

    def _counts(self, total: int) -> list[int]:
        """Dialogues of each set among the first `total` that are due."""

        def due_by(time: int) -> list[int]:
            return [(time // step + 1) // 2 for step in self._steps]

        low, high = 0, 2 * self._steps[0] * (total + 1)
        while low < high:  # the latest time by which no more than `total` are due
            middle = (low + high + 1) // 2
            low, high = (middle, high) if sum(due_by(middle)) <= total else (low, middle - 1)
        counts = due_by(low)
        following = due_by(low + 1)
        for source in range(len(counts)):  # those due at the same moment come in the order of the sets
            if sum(counts) < total and following[source] > counts[source]:
                counts[source] += 1
        return counts
