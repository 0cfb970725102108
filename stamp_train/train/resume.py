"""How a run goes on: from which of its checkpoints, the newest that is whole, and by which recipe. Imports next to nothing."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from stamp_schemas import StampError, UsageFault
from stamp_train.recipes import Resolved, changes, resolve
from stamp_train.train.checksums import CHECKSUMS, find_faults
from stamp_train.train.folder import CHECKPOINTS, EARLIER, FINAL, LOG, RECIPE, STATE, find, run_folder
from stamp_train.train.runlog import read_rows

_log = logging.getLogger(__name__)
_TITLE = re.compile(r"# (.+), resolved\n")
_SHOWN = 5  # differences that are told
_NETWORK = ("preset", "shape", "tokenizer", "vocabulary", "tuning", "lora")  # keys of `model` that make a network
_BEGIN = "a run that begins anew may have it: give another --out, and no --resume"


def find_start(out: Path, resume: str) -> Path | None:
    """The checkpoint to go on from, or None to begin. Whether it is whole is not looked at: see `find_whole`.

    out: run folder. resume: empty, `auto`, or a checkpoint's folder. UsageFault: there is no such checkpoint, or the run folder
    holds a run already and nobody asked to go on with it.
    """
    found = find(out / CHECKPOINTS)
    if resume == "auto":
        return found[-1] if found else None
    if resume:
        if not (Path(resume) / STATE).is_file():
            raise UsageFault(f"{resume}: not a checkpoint of a run: no {STATE}")
        return Path(resume)
    if found or (out / FINAL).exists():
        raise UsageFault(f"{out} holds a run already", "--resume auto goes on with it; --out names another folder")
    if steps := len(read_rows(out / LOG)):
        raise UsageFault(
            f"{out} holds the log of {steps:,} steps, and no checkpoint to go on from",
            "--resume auto begins anew there, and the log goes; --out names another folder",
        )
    return None


def find_whole(out: Path, resume: str) -> Path | None:
    """As `find_start`, but every file of it is as it was written: `auto` passes over checkpoints of which that is untrue.

    StampError: the checkpoint that was named is damaged, or all of them are.
    """
    start = find_start(out, resume)
    if start is None:
        return None
    candidates = find(out / CHECKPOINTS)[::-1] if resume == "auto" else [start]
    damaged: list[str] = []
    for checkpoint in candidates:
        if not (fault := _first_fault(checkpoint)):
            if damaged:
                _log.warning("damaged: %s; going on from %s instead", "; ".join(damaged), checkpoint)
            return checkpoint
        damaged.append(f"{checkpoint}: {fault}")
    hint = f"`stamp-train verify {out}` lists all faults; another --out begins anew" if resume == "auto" else EARLIER
    raise StampError(f"damaged: {'; '.join(damaged)}", hint)


def _first_fault(checkpoint: Path) -> str:
    """Empty for a checkpoint that is whole, or was written before there were checksums, which is said."""
    faults = find_faults(checkpoint)
    if faults is None:
        _log.warning("%s has no %s, which older versions did not write: it is not checked", checkpoint, CHECKSUMS)
        return ""
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{faults[0]}{more}" if faults else ""


def continued(asked: Resolved, out: Path, overrides: Sequence[str]) -> tuple[Resolved, list[str]]:
    """The recipe that the run in `out` goes on by, and what is to be said about it, a line each.

    asked: the recipe of the call, `overrides` included. What they change is said; what else the call's recipe has other than
    the run's is not taken, and that is said too. UsageFault: the run is one of another recipe, or of another network.
    """
    path = out / RECIPE
    if not path.is_file():
        return asked, []
    before = resolve(str(path))
    own = dataclasses.replace(resolve(str(path), overrides), name=_name(path) or asked.name)
    if asked.name not in (own.name, before.name):  # who names the run's file itself means it
        raise UsageFault(
            f"{out} holds a run of {own.name}, not of {asked.name}", "name that one, or give another --out"
        )
    _check_network(before, own, out)
    told = [f"changed since the run began: {change}" for change in changes(before, own)]
    other = changes(asked, own)
    if not other:
        return dataclasses.replace(asked, name=own.name), told
    more = f", and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
    kept = f"{path} goes on, which is not {asked.name} as called: {', '.join(other[:_SHOWN])}{more}; --set changes it"
    return own, [*told, kept]


def begun_anew(out: Path) -> list[str]:
    """What is lost by beginning in a folder without a checkpoint, a line if it is anything."""
    steps = len(read_rows(out / LOG))
    return [f"{out} has no checkpoint: the run begins anew, and its log of {steps:,} steps goes"] if steps else []


def forked(asked: Resolved, start: Path) -> list[str]:
    """What is other than in the run that a checkpoint is of, a line each. UsageFault: its network is."""
    if (run := run_folder(start)) is None:
        return []
    before = resolve(str(run / RECIPE))
    _check_network(before, asked, start)
    return [f"other than in {run}: {change}" for change in changes(before, asked)]


def _check_network(before: Resolved, after: Resolved, where: Path) -> None:
    """UsageFault for what only a network that is begun anew can have; one that goes on stays as it is."""
    had, asked = before.recipe, after.recipe
    model = replace(asked.model, **{name: getattr(had.model, name) for name in _NETWORK})
    method = asked.method.over(had.method) if asked.method.name == had.method.name else had.method
    kept = dataclasses.replace(after, recipe=replace(asked, model=model, method=method))
    if other := changes(kept, after):
        raise UsageFault(f"{where}: its network stays as it began: not {', '.join(other[:_SHOWN])}", _BEGIN)


def _name(path: Path) -> str:
    """Of the recipe that a run's file was made of, "" if it does not say."""
    with path.open(encoding="utf-8") as file:
        found = _TITLE.fullmatch(file.readline())
    return found[1] if found else ""
