"""By which recipe a run goes on: its own, as its folder keeps it, and what the call spells out on top."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stamp_schemas import UsageFault
from stamp_train.recipes import Resolved, changes, resolve
from stamp_train.train.locate import run_folder
from stamp_train.train.runlog import LOG, RECIPE, read_rows

_TITLE = re.compile(r"# (.+), resolved\n")
_SHOWN = 5  # differences that are told


def continued(asked: Resolved, out: Path, overrides: Sequence[str]) -> tuple[Resolved, list[str]]:
    """The recipe that the run in `out` goes on by, and what is to be said about it, a line each.

    asked: the recipe of the call, `overrides` included. What they change is said; what else the call's recipe has other than
    the run's is not taken, and that is said too. UsageFault: the run is one of another recipe.
    """
    path = out / RECIPE
    if not path.is_file():
        return asked, []
    before = resolve(str(path))
    own = replace(resolve(str(path), overrides), name=_name(path) or asked.name)
    if asked.name not in (own.name, before.name):  # who names the run's file itself means it
        raise UsageFault(
            f"{out} holds a run of {own.name}, not of {asked.name}", "name that one, or give another --out"
        )
    told = [f"changed since the run began: {change}" for change in changes(before, own)]
    other = changes(asked, own)
    if not other:
        return replace(asked, name=own.name), told
    more = f", and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    kept = f"{path} goes on, which is not {asked.name} as called: {', '.join(other[:_SHOWN])}{more}; --set changes it"
    return own, [*told, kept]


def begun_anew(out: Path) -> list[str]:
    """What is lost by beginning in a folder without a checkpoint, a line if it is anything."""
    steps = len(read_rows(out / LOG))
    return [f"{out} has no checkpoint: the run begins anew, and its log of {steps:,} steps goes"] if steps else []


def forked(asked: Resolved, start: Path) -> list[str]:
    """What is other than in the run that a checkpoint is of, a line each."""
    run = run_folder(start)
    return [f"other than in {run}: {change}" for change in changes(resolve(str(run / RECIPE)), asked)] if run else []


def _name(path: Path) -> str:
    """Of the recipe that a run's file was made of, "" if it does not say."""
    with path.open(encoding="utf-8") as file:
        found = _TITLE.fullmatch(file.readline())
    return found[1] if found else ""
