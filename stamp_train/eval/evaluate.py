"""Examinations: batches of pictures with their cases, dealt to processes, answered, scored and written down.

What a batch holds depends on the sets and on the batch size alone, never on the number of processes or on where an
earlier run stopped: so every number comes out of the same computation, whoever does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stamp_data.shards.index import IndexRow
from stamp_schemas import StampError
from stamp_train.eval.cases import CaseSet, Pictured
from stamp_train.eval.journal import DAMAGED, Journal, Line, done_batches, read_batches
from stamp_train.eval.scoring import Scorer
from stamp_train.generation.cache import portions
from stamp_train.generation.replies import Answer
from stamp_train.sequence.errors import StampModelError

Report = Callable[[int, int], None]


class Respondent(Protocol):
    """Whoever sits the examination."""

    def answer(self, pictures: Sequence[Pictured], mode: str) -> list[list[Answer]]:
        """For each picture an answer to each of its cases.

        Raises:
            StampModelError: a case that cannot be answered.
        """
        ...


@dataclass(frozen=True)
class Batch:
    """Records of one set that are answered together. number: among all batches of the evaluation."""

    number: int
    source: CaseSet
    rows: list[IndexRow]

    @property
    def cases(self) -> int:
        return sum(map(self.source.count, self.rows))


def make_batches(sets: Sequence[CaseSet], size: int) -> list[Batch]:
    """All cases in batches of at most `size`, neighbouring records together; a record's cases are never parted."""
    parts = [(one, rows) for one in sets for rows in portions(one.rows, one.count, size)]
    return [Batch(number, one, rows) for number, (one, rows) in enumerate(parts)]


class Examination:
    """One process's share of the work.

    Args:
        respondent: answers.
        scorer: scores.
        modes: in which every case is asked.
    """

    def __init__(self, respondent: Respondent, scorer: Scorer, modes: Sequence[str]) -> None:
        self.respondent, self.scorer, self.modes = respondent, scorer, modes

    def run(
        self, batches: Sequence[Batch], folder: Path, rank: int = 0, world: int = 1, report: Report = lambda *_: None
    ) -> None:
        """Do what is left of this process's batches.

        Args:
            batches: all of the evaluation.
            folder: where it is written down.
            rank, world: which of how many processes.
            report: told (cases done, cases) of this process.

        Raises:
            StampError: another process does the same.
        """
        mine = batches[rank::world]
        total, done = sum(batch.cases for batch in mine), 0
        with Journal(folder, rank) as journal:
            finished = done_batches(folder)
            for batch in mine:
                if batch.number not in finished:
                    journal.add(batch.number, list(self.examine(batch)))
                done += batch.cases
                report(done, total)

    def examine(self, batch: Batch) -> Iterator[Line]:
        """Lines of a batch, in the order of its records."""
        pictures = [batch.source.load(row) for row in batch.rows]
        lines: dict[str, list[Line]] = {one.key: _damaged(batch.source.name, one.damaged) for one in pictures}
        for mode in self.modes:
            for pictured, answers in self._answers([one for one in pictures if one.cases], mode):
                name = batch.source.name
                if isinstance(answers, StampModelError):
                    lines[pictured.key] += _damaged(name, [(case.id, str(answers)) for case in pictured.cases])
                else:
                    lines[pictured.key] += self.scorer.lines(name, pictured, mode, answers)
        for pictured in pictures:
            yield from lines[pictured.key]

    def _answers(
        self, pictures: Sequence[Pictured], mode: str
    ) -> Iterator[tuple[Pictured, list[Answer] | StampModelError]]:
        """Answers to all pictures together; if the model cannot take one, to each alone, so that only its own are lost."""
        if not pictures:
            return
        try:
            answers = self.respondent.answer(pictures, mode)
        except StampModelError as fault:
            if len(pictures) == 1:
                yield pictures[0], fault
                return
            for one in pictures:
                yield from self._answers([one], mode)
        else:
            yield from zip(pictures, answers, strict=True)


def gather(batches: Sequence[Batch], folder: Path) -> list[Line]:
    """All lines, in the order of the batches.

    Raises:
        StampError: some batches have not been done.
    """
    found = read_batches(folder)
    missing = [batch for batch in batches if batch.number not in found]
    if missing:
        cases, total = sum(batch.cases for batch in missing), sum(batch.cases for batch in batches)
        raise StampError(f"{folder}: {cases:,} of {total:,} cases are not done", "the same command goes on with them")
    return [line for batch in batches for line in found[batch.number]]


def _damaged(name: str, faults: Sequence[tuple[str, str]]) -> list[Line]:
    return [Line(set=name, id=case, flags=[DAMAGED], fault=fault) for case, fault in faults]
