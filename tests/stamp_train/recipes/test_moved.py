"""Keys of older recipes: read from where they stand now, with the line that they were written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_schemas import UsageFault
from stamp_train.recipes import resolve

OLDER = """\
about: as an older version wrote it
model: {preset: tiny, head_width: 32, scratch: {near: true}}
loss: default
naming: 0.25
optimizer: {kind: muon, rest: 0.5}
data: {max_bad_share: 0.25}
evaluation: {pictures: 3}
stages: [{name: one, steps: 1, sets: [{set: a/train}]}]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_run_folder_of_an_older_version_is_understood(tmp_path: Path) -> None:
    found = resolve(write(tmp_path, OLDER))
    recipe = found.recipe
    assert recipe.optimizer.adamw_ratio == 0.5 and found.origins["optimizer.adamw_ratio"] == "recipe.yaml:5"
    assert recipe.data.max_bad_ratio == 0.25 and recipe.evaluation.images == 3
    assert recipe.method.head_width == 32 and recipe.method.demo.naming == 0.25 and recipe.method.demo.near
    again = resolve(write(tmp_path, found.yaml()))
    assert again.recipe == recipe


def test_an_older_key_is_taken_from_a_call_too(tmp_path: Path) -> None:
    recipe = resolve(write(tmp_path, OLDER), ["optimizer.rest=0.75", "naming=0"]).recipe
    assert recipe.optimizer.adamw_ratio == 0.75 and recipe.method.demo.naming == 0


def test_a_key_that_is_given_under_both_names_is_refused_with_the_new_one(tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as fault:
        resolve(write(tmp_path, OLDER.replace("rest: 0.5", "rest: 0.5, adamw_ratio: 0.5")))
    assert fault.value.message == "recipe.yaml:5: optimizer.rest is optimizer.adamw_ratio now, which is given too"
