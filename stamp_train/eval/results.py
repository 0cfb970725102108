"""What comes out of an evaluation: `results.json` with a card that says how its numbers were made, and a line per mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from stamp_data.writing import json_text, write_atomic
from stamp_schemas import StampError, UsageFault
from stamp_train.eval.card import Card
from stamp_train.eval.journal import CASES, RESULTS, writing
from stamp_train.eval.metrics import CONVENTIONS, Summary
from stamp_train.eval.scoring import DAMAGED, Line

RESULTS_SCHEMA: Literal["stamp.evaluation/1"] = "stamp.evaluation/1"

Metrics = dict[str, float]


class Rule(msgspec.Struct):
    """A convention in words. source: the code that computes it. formulas: of its metrics."""

    source: str
    formulas: dict[str, str]


class Damage(msgspec.Struct):
    """A case that was not scored, or a number of cases of one record that cannot be read."""

    set: str
    id: str
    fault: str


class SetResult(msgspec.Struct):
    """Scores of one set, such as `refcoco-unc/val`.

    cases: sentences scored; masks: true masks scored, at least one a sentence; damaged: cases not scored. scores: variant ->
    convention -> metric -> ratio; flags: variant -> how many cases raise which flag. rounds: scores of each round of dialogues
    that a build has joined, by its number from 1.
    """

    name: str
    dataset: str
    split_by: str
    split: str
    digest: str
    cases: int
    masks: int
    damaged: int
    scores: dict[str, dict[str, Metrics]]
    flags: dict[str, dict[str, int]]
    rounds: dict[int, dict[str, dict[str, Metrics]]] = {}


class Results(msgspec.Struct):
    """An evaluation. damaged: every case that was not scored, with the reason."""

    schema: Literal["stamp.evaluation/1"]
    card: Card
    conventions: dict[str, Rule]
    sets: list[SetResult]
    damaged: list[Damage]


def make_results(card: Card, lines: Sequence[Line]) -> Results:
    """Results from the lines of all cases."""
    damaged = {(line.set, line.id): line.fault for line in lines if DAMAGED in line.flags}
    rules = {name: Rule(rule.source, dict(rule.formulas)) for name, rule in CONVENTIONS.items()}
    sets = []
    for one in card.settings.sets:
        scored = [line for line in lines if line.score and line.set == one.name]
        variants = _variants(scored)
        rounds = sorted({line.round for line in scored if line.round})
        sets.append(
            SetResult(
                **{name: getattr(one, name) for name in ("name", "dataset", "split_by", "split", "digest")},
                cases=len({line.id for line in scored}),
                masks=len({(line.id, line.target) for line in scored}),
                damaged=sum(name == one.name for name, _ in damaged),
                scores={variant: _scores(some) for variant, some in variants.items()},
                flags={variant: _flags(some) for variant, some in variants.items()},
                rounds={number: _round_scores(scored, number) for number in rounds},
            )
        )
    faults = [Damage(name, case, fault) for (name, case), fault in damaged.items()]
    return Results(RESULTS_SCHEMA, card, rules, sets, faults)


def _variants(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines by variant, in order of appearance."""
    variants: dict[str, list[Line]] = {}
    for line in lines:
        variants.setdefault(line.variant, []).append(line)
    return variants


def _round_scores(lines: Iterable[Line], number: int) -> dict[str, dict[str, Metrics]]:
    return {name: _scores(some) for name, some in _variants(line for line in lines if line.round == number).items()}


def _scores(lines: Iterable[Line]) -> dict[str, Metrics]:
    summary = Summary([line.score for line in lines if line.score])
    return {name: summary.metrics(name) for name in CONVENTIONS}


def _flags(lines: Iterable[Line]) -> dict[str, int]:
    cases = {(line.id, flag) for line in lines for flag in line.flags}
    return dict(sorted(Counter(flag for _, flag in cases).items()))


def write_results(folder: Path, results: Results, lines: Sequence[Line]) -> None:
    """Write `results.json` and `cases.jsonl`; each is there whole or not at all."""
    with writing(folder):
        write_atomic(folder / CASES, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        write_atomic(folder / RESULTS, json_text(results))


def read_results(path: Path) -> Results:
    """Results as written. UsageFault if there are none, StampError if the file is something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as fault:
        raise UsageFault(f"{path}: {fault.strerror}", "`stamp-train eval` writes results.json to its --out") from None
    except msgspec.MsgspecError as fault:
        raise StampError(f"{path}: not the results of an evaluation: {fault}") from None


def read_lines(path: Path) -> list[Line]:
    """The lines of an evaluation as written; errors as `read_results`."""
    try:
        return [msgspec.json.decode(line, type=Line) for line in path.read_bytes().splitlines()]
    except OSError as fault:
        raise UsageFault(f"{path}: {fault.strerror}", "`stamp-train eval` writes cases.jsonl to its --out") from None
    except msgspec.MsgspecError as fault:
        raise StampError(f"{path}: damaged: {fault}", "`stamp-train eval` with the same --out writes it anew") from None
