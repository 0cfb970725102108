"""What comes out of a comparison: `results.json`, a row for each variant, gathered from the folders of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import msgspec

from stamp_schemas import StampError
from stamp_train.backbones.base import find
from stamp_train.backbones.folder import digest
from stamp_train.compare import folder as files
from stamp_train.compare.intervals import Interval, Scored, intervals
from stamp_train.compare.measure import Effort, Measured
from stamp_train.compare.variants import title
from stamp_train.compare.work import Done, Plan
from stamp_train.eval.card import SetCard, set_card, software
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.journal import CASES
from stamp_train.eval.results import read_lines
from stamp_train.eval.scoring import FREE, Line
from stamp_train.methods import VARIANTS, settings_type
from stamp_train.train.folder import EVALUATIONS, LOG
from stamp_train.train.runlog import read_rows

SCHEMA: Literal["stamp.comparison/1"] = "stamp.comparison/1"


class Point(msgspec.Struct, frozen=True):
    """Of a learning curve: held-out cIoU, teacher-forced, after so many steps, which took so many seconds."""

    step: int
    seconds: float
    ciou: float


class Costs(Effort, frozen=True, kw_only=True):
    """What a variant costs, as means over its seeds.

    training_seconds: of all steps, evaluation left out. training_tokens: of the language model, for each dialogue. memory: GiB
    that the main process of the training held at most.
    """

    training_seconds: float
    training_tokens: float
    memory: float


class Row(msgspec.Struct, kw_only=True):
    """A variant. failed: seed -> why it is not in the numbers. seeds: those that are. scores: set -> mode -> metric.

    flags: set -> mode -> how many cases raise which flag, over all seeds (see `eval.scoring.Line`). ceiling: set -> metric.
    """

    name: str
    title: str
    method: dict[str, Any]
    seeds: list[int]
    failed: dict[int, str]
    scores: dict[str, dict[str, dict[str, Interval]]] = {}
    flags: dict[str, dict[str, dict[str, int]]] = {}
    ceiling: dict[str, dict[str, float]] = {}
    costs: Costs | None = None
    curves: dict[int, list[Point]] = {}


class Comparison(msgspec.Struct, kw_only=True):
    """A comparison. batches: seed -> one digest of all that every method has learned from. shared: see `folder.Shared`.

    command: that made it. base: digest of the weights that all began with. device: that answers were timed on.
    """

    schema: Literal["stamp.comparison/1"] = SCHEMA
    command: str
    shared: files.Shared
    base: str
    seeds: list[int]
    steps: int
    batches: dict[int, str]
    sets: list[SetCard]
    device: str
    versions: dict[str, str]
    rows: list[Row]


def gather(plan: Plan, done: Done, shared: files.Shared, command: str) -> Comparison:
    """Everything that has come of the runs. StampError: a file of theirs is damaged."""
    sets = plan.asking.sets(plan.resolved.recipe)
    words = {one.name: _wordings(one) for one in sets}
    rows = [_row(plan, done, name, words) for name in plan.names]
    finished = [plan.place(row.name, seed) for row in rows for seed in row.seeds]
    return Comparison(
        command=command,
        shared=shared,
        base=_base(plan),
        seeds=plan.seed_numbers,
        steps=max((len(read_rows(place / files.RUN / LOG)) for place in finished), default=0),
        batches=done.batches,
        sets=[set_card(one) for one in sets],
        device=_measured(finished[0]).device if finished else "",
        versions=software(),
        rows=rows,
    )


def _base(plan: Plan) -> str:
    start = plan.resolved.recipe.model.start
    folder = find(start) if start else plan.out / files.BASE
    return digest(folder) if folder else ""


def _row(plan: Plan, done: Done, name: str, words: Mapping[str, Mapping[str, frozenset[str]]]) -> Row:
    failed = {seed: done.failed[name, seed] for seed in plan.seed_numbers if (name, seed) in done.failed}
    row = Row(
        name=name,
        title=title(name),
        method=msgspec.to_builtins(msgspec.convert(VARIANTS[name], settings_type(VARIANTS[name]["name"]))),
        seeds=[seed for seed in plan.seed_numbers if seed not in failed],
        failed=failed,
    )
    places = [plan.place(name, seed) for seed in row.seeds]
    if not places:
        return row
    row.curves = {seed: _curve(place / files.RUN) for seed, place in zip(row.seeds, places, strict=True)}
    lines = [lines_of(place) for place in places]
    for one in words:
        some = [[line for line in found if line.set == one and line.score] for found in lines]
        modes = dict.fromkeys(line.variant for found in some for line in found)
        row.scores[one] = {mode: _scores([_of(found, mode) for found in some], mode, words[one]) for mode in modes}
        row.flags[one] = {mode: _flags([_of(found, mode) for found in some]) for mode in modes}
    measured = list(map(_measured, places))
    row.costs = _costs(measured, places)
    row.ceiling = {
        one: {metric: fmean(each.ceiling[one][metric] for each in measured) for metric in measured[0].ceiling[one]}
        for one in measured[0].ceiling
    }
    return row


def _scores(seeds: Sequence[Sequence[Line]], mode: str, words: Mapping[str, frozenset[str]]) -> dict[str, Interval]:
    return intervals([[_scored(line, mode, words) for line in lines] for lines in seeds])


def _scored(line: Line, mode: str, words: Mapping[str, frozenset[str]]) -> Scored:
    """Words are the model's own only where it answers freely; each answer's count once."""
    assert line.score is not None  # lines without one are left out
    asked = mode == FREE and line.target == 0
    return Scored(line.id.partition("/")[0], line.score, line.answer in words[line.id] if asked else None)


def _of(lines: Sequence[Line], mode: str) -> list[Line]:
    return [line for line in lines if line.variant == mode]


def _flags(seeds: Sequence[Sequence[Line]]) -> dict[str, int]:
    raised = [(flag, seed, line.id) for seed, lines in enumerate(seeds) for line in lines for flag in line.flags]
    names = [flag for flag, *_ in dict.fromkeys(raised)]
    return {flag: names.count(flag) for flag in sorted(set(names))}


def _costs(measured: Sequence[Measured], places: Sequence[Path]) -> Costs:
    logs = [read_rows(place / files.RUN / LOG) for place in places]
    return Costs(
        **{name: fmean(getattr(one, name) for one in measured) for name in Effort.__struct_fields__},
        training_seconds=fmean(sum(row["seconds"] for row in rows) for rows in logs),
        training_tokens=fmean(
            sum(row["tokens"] for row in rows) / sum(row["dialogues"] for row in rows) for rows in logs
        ),
        memory=fmean(max(row["memory"] for row in rows) for rows in logs),
    )


def _curve(run: Path) -> list[Point]:
    """What a run has scored while it was trained."""
    seconds, passed = 0.0, {}
    for row in read_rows(run / LOG):
        seconds += row["seconds"]
        passed[row["step"]] = seconds
    return [
        Point(row["step"], round(passed[row["step"]], 3), row["metrics"]["ciou"])
        for row in read_rows(run / EVALUATIONS)
        if row["step"] in passed
    ]


def _wordings(source: CaseSet) -> dict[str, frozenset[str]]:
    return {case: answers for row in source.rows for case, answers in source.wordings(row).items()}


def lines_of(place: Path) -> list[Line]:
    """What the evaluation of a run has written down. StampError: it is damaged."""
    path = place / files.EVALUATION / CASES
    try:
        return read_lines(path)
    except StampError as fault:
        raise StampError(fault.message, f"remove {path.parent}, then call again: it is made anew") from None


def _measured(place: Path) -> Measured:
    path = place / files.MEASURED
    try:
        return msgspec.json.decode(path.read_bytes(), type=Measured)
    except msgspec.MsgspecError as fault:
        raise StampError(f"{path}: damaged: {fault}", "remove it, then call again: it is made anew") from None
