"""The folder of a comparison: what lies where, and whose it is.

OUT/comparison.json                   what all runs share: another recipe, set or evaluation is refused
OUT/base/                             the base that all begin with, where the recipe names none
OUT/runs/NAME/seed-0/recipe.yaml      what was asked of a run
OUT/runs/NAME/seed-0/run/             the run itself, see `stamp_train.train.folder`
OUT/runs/NAME/seed-0/evaluation/      see `stamp_train.eval.journal`
OUT/runs/NAME/seed-0/measured.json    costs and ceiling
OUT/runs/NAME/seed-0/output.log       all that the commands said
OUT/results.json, table.md, page.html, curves.svg, pictures/    once that is done
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec

from stamp_data.shards.manifest import read_manifest
from stamp_data.writing import LOCK, json_text, write_atomic
from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Recipe
from stamp_train.backbones.base import find
from stamp_train.backbones.folder import digest
from stamp_train.eval.cases import CaseSet
from stamp_train.recipes import Resolved
from stamp_train.stream.stages import open_set, told_root

COMPARISON, BASE, RUNS = "comparison.json", "base", "runs"
RECIPE, RUN, EVALUATION, MEASURED = "recipe.yaml", "run", "evaluation", "measured.json"
RESULTS, TABLE, PAGE, CURVES, PICTURES = "results.json", "table.md", "page.html", "curves.svg", "pictures"
# What says whose it is goes last: a removal that was cut short is done again.
_WRITTEN = (RESULTS, TABLE, PAGE, CURVES, COMPARISON)
_SHOWN = 3  # differences that are told


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How trained models are asked.

    records: of each set, at most; None for all. max_new_tokens: of an answer. timed: cases whose answers are timed.
    """

    records: int | None = None
    max_new_tokens: int = 1024
    timed: int = 16

    def sets(self, recipe: Recipe) -> list[CaseSet]:
        """The sets that a recipe evaluates, those that have masks."""
        opened = [CaseSet(open_set(recipe.data, name), records=self.records) for name in recipe.evaluation.sets]
        return [one for one in opened if len(one)]


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs of a comparison have in common.

    recipe: its name. values: of it, by dotted path, without method and seed. sets: name -> digest, of training and evaluation.
    start: digest of the base model that it names; empty where it names none, or one that is yet to be fetched.
    """

    recipe: str
    values: dict[str, Any]
    sets: dict[str, str]
    asking: Asking
    start: str = ""


def shared(resolved: Resolved, asking: Asking) -> Shared:
    """Of a recipe. UsageFault: it evaluates nothing. StampError: a set is not there."""
    recipe = resolved.recipe
    if not recipe.evaluation.sets:
        raise UsageFault(f"{resolved.name}: evaluates no set, so there is nothing to compare", "set evaluation.sets")
    values = {
        key: value for key, value in resolved.leaves().items() if key != "seed" and key.partition(".")[0] != "method"
    }
    return Shared(
        recipe=resolved.name,
        values=msgspec.json.decode(msgspec.json.encode(values)),  # as it is read back
        sets=_sets(recipe),
        asking=asking,
        start=_start(recipe),
    )


def _start(recipe: Recipe) -> str:
    folder = find(recipe.model.start) if recipe.model.start else None
    return digest(folder) if folder else ""


def _sets(recipe: Recipe) -> dict[str, str]:
    names = [use.set for stage in recipe.stages for use in stage.sets] + list(recipe.evaluation.sets)
    with told_root(recipe.data):
        return {name: read_manifest(open_set(recipe.data, name)).digest for name in dict.fromkeys(names)}


def claim(folder: Path, asked: Shared, overwrite: bool = False) -> None:
    """Make an existing folder that of a comparison, or go on with the one that is there, if that shares the same.

    overwrite: begin anew. UsageFault: the folder holds a comparison of something else, or something else.
    """
    path = folder / COMPARISON
    begun = (LOCK, COMPARISON)  # what a call leaves that is killed before it has written down whose folder it is
    if not path.is_file() and not all(one.name.startswith(begun) for one in folder.iterdir()):
        raise UsageFault(f"{folder}: holds something, but no comparison", "give another --out")
    if overwrite and path.is_file():
        for name in (RUNS, BASE, PICTURES):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in _WRITTEN:
            (folder / name).unlink(missing_ok=True)
    if not path.is_file():
        write_atomic(path, json_text(asked))
    elif changed := _changes(_read(path), asked):
        more = f", and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise UsageFault(
            f"{folder}: holds a comparison with other settings: {'; '.join(changed[:_SHOWN])}{more}",
            "give another --out, or --overwrite begins anew",
        )


def _read(path: Path) -> Shared:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Shared)
    except msgspec.MsgspecError as fault:
        raise StampError(f"{path}: damaged: {fault}", "--overwrite begins anew") from None


def _changes(old: Shared, new: Shared) -> list[str]:
    before, after = (
        {**one.values, **one.sets, "recipe": one.recipe, **msgspec.structs.asdict(one.asking)} for one in (old, new)
    )
    if old.start and new.start:
        before["weights of model.start"], after["weights of model.start"] = old.start, new.start
    return [
        f"{key} was {before.get(key, 'absent')}, is {after.get(key, 'absent')}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]
