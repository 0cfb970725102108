"""What every optimizer step sees: a pure function of the sets, the mixture and the seed.

The global batch of a step is a fixed number of *dialogues*, since that is what a paper states and a schedule counts: it
does not change with `dialogues_per_image`, nor with how many dialogues the images of a set happen to have. Where a batch
ends within a group, the rest of the group opens the next batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
from blake3 import blake3

from stamp_data.shards.index import MEMBERS
from stamp_data.shards.set_index import SetIndex
from stamp_data.shards.stores import Location
from stamp_schemas import Record, StampError, UsageFault
from stamp_train.stream.mixture import MixedOrder, Mixture
from stamp_train.stream.order import Group, SetOrder

VERSION = "stamp.plan/1"
OPEN_FILES = 64  # per thread: windows of shards are read through each other


class PlanOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the order, besides the sets.

    seed: of all shuffles. batch: dialogues of a step; the order does not depend on it. dialogues_per_image: most dialogues
    of a record that are drawn together. window: shards that are shuffled together.
    """

    seed: int = 0
    batch: int = 96
    dialogues_per_image: int = 4
    window: int = 32

    def __post_init__(self) -> None:
        for name in ("batch", "dialogues_per_image", "window"):
            if getattr(self, name) < 1:
                raise UsageFault(f"{name} is {getattr(self, name)}", "it must be at least 1")


@dataclass(frozen=True)
class GlobalBatch:
    """The dialogues of one step, whoever computes them.

    step: from 0. start: dialogues drawn before it. groups: in the order of the plan. sets: digests of the plan's sets.
    """

    step: int
    start: int
    groups: tuple[Group, ...]
    sets: tuple[str, ...]

    @cached_property
    def dialogues(self) -> int:
        """Number of dialogues."""
        return sum(len(group.dialogues) for group in self.groups)

    @property
    def end(self) -> int:
        """Dialogues drawn up to and with it."""
        return self.start + self.dialogues

    @cached_property
    def digest(self) -> str:
        """BLAKE3 (hex, 32 digits) over the batch's dialogues, each named by set digest, shard, row and place, sorted."""
        names = [
            f"{self.sets[group.source]}/{group.shard}/{group.row}/{dialogue}\n"
            for group in self.groups
            for dialogue in group.dialogues
        ]
        return blake3("".join(sorted(names)).encode()).hexdigest(16)


@dataclass(frozen=True)
class Named:
    """A group as a person would name it. epoch: which pass over its set, from 0. dialogues: (place, id, expression)."""

    set: str
    epoch: int
    shard: str
    row: int
    key: str
    dialogues: tuple[tuple[int, str, str], ...]


class Plan:
    """The stream of global batches.

    sets: what is trained on; the same set twice gives two streams of different order. mixture: how much of each. options:
    seed and sizes. StampError: a set cannot be opened, or the mixture does not fit the sets (UsageFault).
    """

    def __init__(
        self,
        sets: Sequence[SetIndex | Location],
        mixture: Mixture | None = None,
        options: PlanOptions | None = None,
    ) -> None:
        if not sets:
            raise UsageFault("a plan without sets", "name at least one shard set")
        self.sets = [one if isinstance(one, SetIndex) else SetIndex(one) for one in sets]
        self.mixture = mixture or Mixture()
        self.options = options or PlanOptions()
        self.rates = self.mixture.rates([one.dialogues for one in self.sets])
        earlier: Counter[str] = Counter()
        orders = []
        for source, one in enumerate(self.sets):
            key = f"{self.options.seed}/{one.digest}/{earlier[one.digest]}"
            earlier[one.digest] += 1
            one.tars.keep_open(OPEN_FILES)
            one.keep = max(one.keep, 2 * self.options.window + 32)  # two windows, and what is still being read
            orders.append(SetOrder(one, source, key, self.options.dialogues_per_image, self.options.window))
        self._order = MixedOrder(orders, self.rates)

    @cached_property
    def digest(self) -> str:
        """Names the order: plans of equal digests draw equal dialogues at equal positions, whatever their batch."""
        named = {
            "version": VERSION,
            "sets": [[one.digest, rate] for one, rate in zip(self.sets, self.rates, strict=True)],
            "seed": self.options.seed,
            "dialogues_per_image": self.options.dialogues_per_image,
            "window": self.options.window,
        }
        return blake3(msgspec.json.encode(named, order="sorted")).hexdigest(16)

    @property
    def dialogues(self) -> int | None:
        """Dialogues of the whole plan; None if it is by weights, which have no end."""
        return None if self.mixture.weights else sum(self.rates)

    @property
    def steps(self) -> int | None:
        """Steps of the whole plan, the last of which may be smaller; None without end."""
        return None if self.dialogues is None else -(-self.dialogues // self.options.batch)

    def batch(self, step: int) -> GlobalBatch:
        """The global batch of a step; StampError past the end of the plan."""
        if step < 0 or (self.steps is not None and step >= self.steps):
            raise StampError(f"the plan has no step {step}", f"it has steps 0 to {(self.steps or 0) - 1}")
        return self.draw(step * self.options.batch, step=step)

    def draw(self, start: int, *, step: int | None = None) -> GlobalBatch:
        """The global batch that begins after `start` dialogues; empty at the end of the plan.

        step: its number, where it is not `start` divided by the batch, as after a change of the batch.
        """
        count = self.options.batch
        if self.dialogues is not None:
            count = max(min(count, self.dialogues - start), 0)
        groups = self._order.draw(start, count) if count else []
        number = start // self.options.batch if step is None else step
        return GlobalBatch(number, start, tuple(groups), tuple(one.digest for one in self.sets))

    def name(self, group: Group) -> Named:
        """A group by the names in its record; StampError if that cannot be read."""
        one = self.sets[group.source]
        rows = one.shard(group.shard)
        offset, size, _ = rows.spans[group.row, MEMBERS.index("json")].tolist()
        data = one.tars.read(rows.entry.path, offset, size)
        try:
            record = msgspec.json.decode(data, type=Record)
            named = tuple((d, record.dialogues[d].id, record.dialogues[d].expression) for d in group.dialogues)
        except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as fault:
            key = one.key(group.shard, group.row)
            raise StampError(f"{one.store}/{rows.entry.path}: the record of {key} is damaged: {fault}") from None
        return Named(one.name, group.epoch, rows.entry.path, group.row, record.key, named)
