"""Keys of older recipes: run folders and calls of before methods had names go on, but for what is no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_schemas import UsageFault
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.recipes import resolve
from stamp_train.recipes.moved import GONE

STAGES = "stages: [{name: a, steps: 1, sets: [{set: s/train}]}]"
OLD = """
about: as a run of before wrote it
model:
  preset: tiny
  scratch:
    near: false
    readout: 1.0
  head: fine
  mask_positions: sequential
  head_width: 96
  head_words: 0
  freeze_patches: false
loss: paper
naming: 0.0
early: 0.0
optimizer: {kind: adamw, adamw_ratio: 1.0, learning_rate: 0.25}
"""


def written(folder: Path, text: str, stages: str = STAGES) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text + stages, encoding="utf-8")
    return str(path)


def test_a_recipe_with_older_keys_is_read_as_the_same_one(tmp_path: Path) -> None:
    expected = StampSettings(mask_positions="sequential", head_width=96, loss="paper")
    stages = STAGES.replace("steps: 1", "schedule: '', steps: 1")
    resolved = resolve(written(tmp_path, OLD, stages))
    assert resolved.recipe.method == expected
    assert resolved.recipe.optimizer.learning_rate == 0.25
    assert resolved.origins["method.loss"] == "recipe.yaml:13"
    assert resolve(written(tmp_path, resolved.yaml().partition("stages:")[0])).recipe.method == expected
    beside = resolve(written(tmp_path, "about: x\nmodel: {preset: tiny}\nmethod: {name: stamp, demo: null}\n"))
    assert beside.recipe.method == StampSettings()


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("near: false", "near: true", "recipe.yaml:6: model.scratch.near"),
        ("readout: 1.0", "readout: 3", "recipe.yaml:7: model.scratch.readout"),
        ("head_words: 0", "head_words: 8", "recipe.yaml:11: model.head_words"),
        ("patches: false", "patches: true", "recipe.yaml:12: model.freeze_patches"),
        ("naming: 0.0", "naming: 1.0", "recipe.yaml:14: naming"),
        ("early: 0.0", "early: 0.5", "recipe.yaml:15: early"),
        ("kind: adamw", "kind: muon", "recipe.yaml:16: optimizer.kind"),
        ("adamw_ratio: 1.0", "rest: 0.5", "recipe.yaml:16: optimizer.rest"),
        ("adamw_ratio: 1.0", "adamw_ratio: 0.5", "recipe.yaml:16: optimizer.adamw_ratio"),
        ("loss: paper", "method: {demo: {near: true}}", "recipe.yaml:13: method.demo"),
        ("steps: 1", "schedule: constant, steps: 1", "recipe.yaml:17: stages.0.schedule"),
    ],
)
def test_what_only_random_networks_used_is_refused_in_one_line(
    before: str, now: str, told: str, tmp_path: Path
) -> None:
    assert before in OLD + STAGES
    with pytest.raises(UsageFault) as fault:
        resolve(written(tmp_path, OLD.replace(before, now), STAGES.replace(before, now)))
    assert fault.value.message == f"{told} is gone, with all that only networks with random weights used"
    assert fault.value.hint.startswith("leave it out and begin a new run")


@pytest.mark.parametrize("key", GONE)
def test_no_call_gives_what_is_gone(key: str) -> None:
    with pytest.raises(UsageFault, match="is gone"):
        resolve("stamp-2b", [f"{key.replace('*', '0')}=1"])


def test_older_keys_of_a_call_are_understood() -> None:
    found = resolve("stamp-2b", ["model.head=patch", "loss=published"]).recipe.method
    assert (found.head, found.loss) == ("patch", "published")


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
data: {max_bad_share: 0.25}
evaluation: {pictures: 3}
"""


def test_names_of_before_are_read_with_the_line_that_they_were_written_in(tmp_path: Path) -> None:
    found = resolve(written(tmp_path, RENAMED), ["evaluation.pictures=4"])
    recipe = found.recipe
    assert recipe.data.max_bad_ratio == 0.25 and recipe.evaluation.images == 4
    assert found.origins["data.max_bad_ratio"] == "recipe.yaml:4"


def test_a_name_of_before_beside_todays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as fault:
        resolve(written(tmp_path, RENAMED.replace("share: 0.25", "share: 0.25, max_bad_ratio: 0.5")))
    assert fault.value.message == "recipe.yaml:4: data.max_bad_share is data.max_bad_ratio now, which is given too"
