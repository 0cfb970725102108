"""The stream as one rank sees it: step after step, its own packs of a global batch, read and prepared ahead in threads.

The state is the number of dialogues drawn, with the digest of the plan that they were drawn by. Any number of ranks may go on
from it, with any number of threads, from any copy of the sets.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from stamp_data.shards.members import BadRecord
from stamp_data.shards.stores import Store
from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Recipe
from stamp_train.methods.contract import Method
from stamp_train.sequence.examples import ImageExample
from stamp_train.stream.examples import ExampleMaker, Prepare
from stamp_train.stream.lengths import Lengths, TokenCosts
from stamp_train.stream.order import Group
from stamp_train.stream.pack import PackedStep, pack_batch
from stamp_train.stream.plan import GlobalBatch, Plan
from stamp_train.stream.quarantine import QUARANTINE, BadRow, Quarantine
from stamp_train.stream.stages import stage_plan, token_costs

T = TypeVar("T")
Read = tuple[ImageExample, list[BadRow]]  # an example, and the records that were tried before it
_log = logging.getLogger(__name__)


class LoaderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a rank reads; nothing here changes what a step sees.

    token_budget: most tokens of a pack. threads: that read and decode; 0 does it in the caller's. ahead: records in work
    beyond those of the step at hand, in at most as many steps; each holds its pixel values, 23 MB for 1,280 tokens.
    max_bad_ratio: of the records, before the run stops. quarantine: file to name them in.
    """

    rank: int = 0
    world: int = 1
    token_budget: int = 24_576
    threads: int = 2
    ahead: int = 16
    max_bad_ratio: float = 0.001
    quarantine: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UsageFault(f"rank {self.rank} of {self.world}", "ranks are counted from 0")


@dataclass(frozen=True)
class StepBatch:
    """One step, as a rank gets it.

    whole: the global batch, the same for all ranks. packs: this rank's, as many as every other rank's; each is one input of
    `Layout`, empty only where the global batch has fewer dialogues than all ranks together have packs.
    """

    whole: GlobalBatch
    packs: tuple[tuple[ImageExample, ...], ...]


@dataclass(frozen=True)
class _Pending:
    """A step whose records are being read."""

    batch: GlobalBatch
    packs: list[list[Future[Read]]]

    @property
    def records(self) -> int:
        return sum(map(len, self.packs))


class StreamLoader:
    """Iterates the steps of a plan, from where its state stands to the plan's end, for one rank.

    StampError, while iterating: a set that cannot be read, or too many bad records.
    """

    def __init__(
        self,
        plan: Plan,
        prepare: Prepare,
        method: Method,
        options: LoaderOptions | None = None,
        costs: TokenCosts | None = None,
    ) -> None:
        self.plan = plan
        self.options = options or LoaderOptions()
        records = sum(entry.records for one in plan.sets for entry in one.shards)
        self.quarantine = Quarantine(self.options.quarantine, self.options.max_bad_ratio, records)
        self._lengths = Lengths(plan, costs)
        method.open_sets(plan.sets)
        self._make = ExampleMaker(prepare, method)
        self._told: set[tuple[int, int, int, int]] = set()
        self._draws = 0

    def state_dict(self) -> dict[str, str | int]:
        """The state after the last step that was handed out."""
        return {"plan": self.plan.digest, "draws": self._draws}

    def load_state_dict(self, state: Mapping[str, str | int]) -> None:
        """Go on from a state; StampError if it is of another plan. An iteration under way is not moved."""
        plan, draws = state.get("plan"), state.get("draws")
        if not isinstance(draws, int) or draws < 0:
            raise StampError(f"the saved position is damaged: {draws!r} dialogues drawn")
        if plan != self.plan.digest:
            raise StampError(
                f"the saved position is of plan {plan}, this is plan {self.plan.digest}",
                "sets, mixture, seed, window and dialogues_per_image must be those of the run that is resumed",
            )
        self._draws = draws

    def __iter__(self) -> Iterator[StepBatch]:
        with _executor(self.options.threads, [one.tars for one in self.plan.sets]) as executor:
            pending: deque[_Pending] = deque()
            next_start, ended = self._draws, False
            while True:
                while not ended and self._wants_more(pending):
                    batch = self.plan.draw(next_start)
                    ended = not batch.groups
                    if not ended:
                        pending.append(self._begin(batch, executor))
                        next_start = batch.end
                if not pending:
                    return
                yield self._finish(pending.popleft())

    def _wants_more(self, pending: Collection[_Pending]) -> bool:
        """Whether to begin another step: `ahead` records beyond the first step are enough, and so are `ahead` steps."""
        beyond = list(pending)[1:]
        return not pending or max(sum(step.records for step in beyond), len(beyond)) < self.options.ahead

    def _begin(self, batch: GlobalBatch, executor: Executor) -> _Pending:
        """Pack a step and set the readers to work on this rank's share."""
        packed = pack_batch(batch.groups, self._lengths(batch.groups), self.options.world, self.options.token_budget)
        self._tell_too_long(packed)
        packs = [
            [executor.submit(self._read, group) for group in pack.groups] for pack in packed.packs[self.options.rank]
        ]
        return _Pending(batch, packs)

    def _finish(self, pending: _Pending) -> StepBatch:
        """Wait for a step's records. Bad ones are noted here, in the order of the plan, whichever thread met them first."""
        packs = []
        for futures in pending.packs:
            read = [future.result() for future in futures]
            for _, bad in read:
                self.quarantine.note(bad)
            packs.append(tuple(example for example, _ in read))
        self._draws = pending.batch.end
        return StepBatch(pending.batch, tuple(packs))

    def _read(self, group: Group) -> Read:
        """A group's record; if that is bad, the next good one of its shard, with as many dialogues."""
        one = self.plan.sets[group.source]
        counts = one.shard(group.shard).dialogues
        bad: dict[int, BadRecord] = {}
        for step in range(len(counts)):
            row = (group.row + step) % len(counts)
            first, count = group.dialogues[0], int(counts[row])
            dialogues = [(first + place) % count for place in range(len(group.dialogues))] if step else group.dialogues
            try:
                example = self._make(one.parsed(group.shard, row), dialogues)
            except BadRecord as fault:
                bad[row] = fault
                continue
            stands_in = one.key(group.shard, row) if bad else ""
            return example, [self._bad_row(group, row, fault, stands_in) for row, fault in bad.items()]
        raise StampError(
            f"{one.tars}/{one.shards[group.shard].path}: no record can be used, the first because: {bad[group.row].detail}",
            f"`stamp-data verify {one.store}` says more",
        )

    def _bad_row(self, group: Group, row: int, fault: BadRecord, stands_in: str) -> BadRow:
        one = self.plan.sets[group.source]
        return BadRow(
            set=one.name,
            digest=one.digest,
            shard=one.shards[group.shard].path,
            row=row,
            key=one.key(group.shard, row),
            reason=fault.reason,
            detail=fault.detail,
            replacement=stands_in,
        )

    def _tell_too_long(self, packed: PackedStep) -> None:
        for group, dialogue, tokens in packed.too_long:
            place = (group.source, group.shard, group.row, dialogue)
            if place not in self._told and self.options.rank == 0:
                self._told.add(place)
                _log.warning(
                    "%s, dialogue %d: %s tokens alone, more than token_budget=%s; it gets a pack of its own",
                    self.plan.sets[group.source].key(group.shard, group.row),
                    dialogue,
                    f"{tokens:,}",
                    f"{self.options.token_budget:,}",
                )


class _Inline(Executor):
    """Does the work at once, in the caller's thread."""

    def submit(self, task: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(task(*args, **kwargs))
        return future


@contextmanager
def _executor(threads: int, stores: Sequence[Store]) -> Iterator[Executor]:
    """Threads to read in; when the iteration is left, nothing is begun and no store is waited for any more."""
    if not threads:
        yield _Inline()
        return
    executor = ThreadPoolExecutor(threads, thread_name_prefix="stream")
    try:
        yield executor
    finally:
        for store in stores:
            store.hurry()
        executor.shutdown(cancel_futures=True)
        for store in stores:
            store.hurry(False)


def stage_loader(
    recipe: Recipe, index: int, prepare: Prepare, method: Method, rank: int, world: int, out: Path
) -> StreamLoader:
    """The loader of stage number `index` of a recipe for one rank of `world`; `out`: where unreadable records are listed."""
    options = LoaderOptions(
        rank=rank,
        world=world,
        token_budget=recipe.batch.pack_tokens,
        threads=recipe.data.threads,
        max_bad_ratio=recipe.data.max_bad_ratio,
        quarantine=out / QUARANTINE,
    )
    return StreamLoader(stage_plan(recipe, index), prepare, method, options, token_costs(recipe))
