"""Batches of pictures with their cases, dealt to processes, answered, scored and written down.

What a batch holds depends on the sets and on the batch size alone, never on the number of processes or on where an
earlier run stopped: so every number comes out of the same computation, whoever does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stamp_data.shards.index import IndexRow
from stamp_schemas import StampError
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.journal import Journal, done_batches, read_batches
from stamp_train.eval.runners import Runner
from stamp_train.eval.scoring import DAMAGED, Line, Scorer
from stamp_train.generation.cache import portions
from stamp_train.predict.batches import answered
from stamp_train.sequence.errors import StampModelError

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Batch:
    """Records of one set that are answered together. number: among all batches of the evaluation."""

    number: int
    source: CaseSet
    rows: list[IndexRow]

    @property
    def cases(self) -> int:
        """How many it has."""
        return sum(map(self.source.count, self.rows))


def make_batches(sets: Sequence[CaseSet], size: int) -> list[Batch]:
    """All cases in batches of at most `size`, neighbouring records together; a record's cases are never parted."""
    parts = [(one, rows) for one in sets for rows in portions(one.rows, one.count, size)]
    return [Batch(number, one, rows) for number, (one, rows) in enumerate(parts)]


@dataclass(frozen=True)
class Evaluator:
    """One process's share of the work. modes: in which every case is asked."""

    runner: Runner
    scorer: Scorer
    modes: Sequence[str]

    def run(
        self, batches: Sequence[Batch], folder: Path, rank: int = 0, world: int = 1, report: Report = lambda *_: None
    ) -> None:
        """Do what is left of the batches of process `rank` of `world`, and write it down in `folder`.

        report is told (cases done, cases) of this process. StampError if another process does the same.
        """
        mine = batches[rank::world]
        total, done = sum(batch.cases for batch in mine), 0
        with Journal(folder, rank) as journal:
            finished = done_batches(folder)
            for batch in mine:
                if batch.number not in finished:
                    journal.add(batch.number, self.lines(batch))
                done += batch.cases
                report(done, total)

    def lines(self, batch: Batch) -> list[Line]:
        """Lines of a batch, in the order of its records. A picture that the model refuses loses its own cases alone."""
        name, images = batch.source.name, [batch.source.load(row) for row in batch.rows]
        lines = {one.key: _damaged(name, one.damaged) for one in images}
        asked = [one for one in images if one.cases]
        for mode in self.modes:
            for one, answers in answered(asked, lambda some, mode=mode: self.runner.answer(some, mode)):  # type: ignore[misc]
                if isinstance(answers, StampModelError):
                    lines[one.key] += _damaged(name, [(case.id, str(answers)) for case in one.cases])
                else:
                    lines[one.key] += self.scorer.lines(name, one, mode, answers)
        return [line for one in images for line in lines[one.key]]


def gather(batches: Sequence[Batch], folder: Path) -> list[Line]:
    """All lines, in the order of the batches; StampError if some have not been done."""
    found = read_batches(folder)
    missing = [batch for batch in batches if batch.number not in found]
    if missing:
        cases, total = sum(batch.cases for batch in missing), sum(batch.cases for batch in batches)
        raise StampError(f"{folder}: {cases:,} of {total:,} cases are not done", "the same command goes on with them")
    return [line for batch in batches for line in found[batch.number]]


def _damaged(name: str, faults: Sequence[tuple[str, str]]) -> list[Line]:
    return [Line(set=name, id=case, flags=[DAMAGED], fault=fault) for case, fault in faults]
