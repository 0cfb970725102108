"""Keys of older recipes: run folders and calls of before methods had names go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_schemas import UsageFault
from stamp_train.methods.stamp.settings import Demo, StampSettings
from stamp_train.recipes import resolve

STAGES = "stages: [{name: a, steps: 1, sets: [{set: s/train}]}]"
OLD = """
about: as a run of before wrote it
model:
  preset: tiny
  scratch:
    near: {near}
    readout: {readout}
  head: fine
  mask_positions: sequential
  head_width: 96
  head_words: {words}
  freeze_patches: {near}
loss: paper
naming: {naming}
early: {naming}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text + STAGES, encoding="utf-8")
    return str(path)


def test_a_recipe_with_older_keys_is_read_as_the_same_one(tmp_path: Path) -> None:
    plain = OLD.format(near="false", readout="1.0", words=0, naming="0.0")
    expected = StampSettings(mask_positions="sequential", head_width=96, loss="paper")
    resolved = resolve(written(tmp_path, plain))
    assert resolved.recipe.method == expected
    assert resolved.origins["method.loss"] == "recipe.yaml:13"
    assert resolve(written(tmp_path, resolved.yaml().partition("stages:")[0])).recipe.method == expected
    demo = resolve(written(tmp_path, OLD.format(near="true", readout="3", words=8, naming="0.5"))).recipe.method
    helped = Demo(near=True, readout=3.0, head_words=8, naming=0.5, early=0.5, freeze_patches=True)
    assert demo == StampSettings(mask_positions="sequential", head_width=96, loss="paper", demo=helped)


def test_older_keys_of_a_call_are_understood() -> None:
    found = resolve("tiny", ["model.head_words=0", "model.head=patch", "naming=0", "loss=published"]).recipe.method
    assert (found.head, found.loss, found.demo.naming, found.demo.early) == ("patch", "published", 0.0, 0.5)


def test_an_older_key_beside_its_new_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"recipe.yaml:4: model.head is method.head now, which is given too"):
        resolve(written(tmp_path, "about: x\nmodel:\n  preset: tiny\n  head: patch\nmethod:\n  head: fine\n"))


def test_a_method_may_be_named_alone(tmp_path: Path) -> None:
    found = resolve(written(tmp_path, "about: x\nmodel: {preset: tiny}\nmethod: stamp\n"))
    assert found.recipe.method == StampSettings()
    assert "name: stamp" in found.yaml()


RENAMED = """
about: as an older version wrote it
model: {preset: tiny}
optimizer: {kind: muon, rest: 0.5}
data: {max_bad_share: 0.25}
evaluation: {pictures: 3}
"""


def test_names_of_before_are_read_with_the_line_that_they_were_written_in(tmp_path: Path) -> None:
    found = resolve(written(tmp_path, RENAMED), ["optimizer.rest=0.75"])
    recipe = found.recipe
    assert recipe.optimizer.adamw_ratio == 0.75 and recipe.data.max_bad_ratio == 0.25 and recipe.evaluation.images == 3
    assert found.origins["data.max_bad_ratio"] == "recipe.yaml:5"


def test_a_name_of_before_beside_todays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as fault:
        resolve(written(tmp_path, RENAMED.replace("rest: 0.5", "rest: 0.5, adamw_ratio: 0.5")))
    assert fault.value.message == "recipe.yaml:4: optimizer.rest is optimizer.adamw_ratio now, which is given too"
