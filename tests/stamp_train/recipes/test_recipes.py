"""Recipes: the paper's numbers, faults that name key and line, and origins."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Optimizer
from stamp_train.backbones.lora import lora_config
from stamp_train.backbones.registry import PRESETS
from stamp_train.methods.stamp.heads import HEADS
from stamp_train.methods.stamp.losses import LOSSES
from stamp_train.recipes import names, resolve
from stamp_train.recipes.fields import fields_of

PAPER = ("stamp-2b", "stamp-2b-reason", "stamp-2b-uni", "stamp-7b-lora")
FAMILY = ["refclef-unc/train", "refcoco-unc/train", "refcoco+-unc/train", "refcocog-umd/train"]


# --- Table S1 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAPER)
def test_what_all_columns_of_table_s1_share(name: str) -> None:
    recipe = resolve(name).recipe
    assert recipe.batch.dialogues == 96
    optimizer = recipe.optimizer
    assert (optimizer.betas, optimizer.weight_decay, optimizer.clip) == ((0.9, 0.999), 0.0, 1.0)
    assert (optimizer.schedule, optimizer.warmup) == ("linear", 0.03)


@pytest.mark.parametrize(
    ("name", "rate", "tuning", "epochs", "sets"),
    [
        ("stamp-2b", 3e-5, "full", [3, 2], [FAMILY, ["grefcoco-unc/train"]]),
        ("stamp-7b-lora", 2e-5, "lora", [3, 2], [FAMILY, ["grefcoco-unc/train"]]),
        ("stamp-2b-reason", 3e-5, "full", [1], [[*FAMILY, "reason_seg/train"]]),
        ("stamp-2b-uni", 3e-5, "full", [2], [[*FAMILY, "llava/train"]]),
    ],
)
def test_columns_of_table_s1(name: str, rate: float, tuning: str, epochs: list[int], sets: list[list[str]]) -> None:
    recipe = resolve(name).recipe
    assert recipe.optimizer.learning_rate == rate
    assert recipe.model.tuning == tuning
    assert [stage.epochs for stage in recipe.stages] == epochs
    assert [[use.set for use in stage.sets] for stage in recipe.stages] == sets


def test_the_7b_recipe_has_the_published_adapter() -> None:
    lora = resolve("stamp-7b-lora").recipe.model.lora
    assert (lora.rank, lora.alpha, lora.style) == (64, 128, "published")


@pytest.mark.parametrize("name", PAPER)
def test_every_number_of_the_paper_says_where_it_is_from(name: str) -> None:
    text = (Path("stamp_train/recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    for key in (
        "learning_rate",
        "betas",
        "weight_decay",
        "clip",
        "warmup",
        "schedule",
        "epochs",
        "dialogues",
        "tuning",
    ):
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))
        assert "# S1" in line, line


def test_choices_are_those_of_the_model() -> None:
    from typing import get_args, get_type_hints

    hints = get_type_hints(type(resolve("tiny").recipe.model))
    assert set(get_args(hints["preset"])) == {"", *PRESETS}
    assert callable(lora_config)
    hints = get_type_hints(type(resolve("tiny").recipe.method))
    assert set(get_args(hints["head"])) == set(HEADS)
    assert set(get_args(hints["loss"])) == set(LOSSES)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("optimizer.learningrate=1", "no key optimizer.learningrate", "optimizer.learning_rate"),
        ("learning_rate=1", "no key learning_rate", "optimizer.learning_rate"),
        ("stages.0.epoch=1", "no key stages.0.epoch", "stages.0.epochs"),
        ("stages.7.epochs=1", "stages has 1 items", ""),
        ("batch.dialogues=0", "batch.dialogues", ""),
        ("batch.dialogues=many", "expected `int`", ""),
        ("model.tuning=lorax", "model.tuning", "'lora'"),
        ("model.preset=2b", "either `start`", ""),
        ("method.heed=patch", "no key method.heed", "method.head"),
        ("method.demo.near=true", "method.demo.near is gone", "leave it out"),
        ("optimizer.kind=adamw", "optimizer.kind is gone", "leave it out"),
        ("stages.0.schedule=constant", "stages.0.schedule is gone", "leave it out"),
        ("method=lisa", "no method 'lisa'", "stamp"),
        ("method.loss=focal", "method.loss", "'paper'"),
        ("saving.best=ciou", "needs evaluation", ""),
        ("learning_rate", "not KEY=VALUE", "--set"),
        ("stages.0.sets=[{set: a", "not YAML", ""),
        ("stages.0.sets=[&a {set: a}, *a]", "no aliases", "write the value"),
        ("about.more=1", "no key about.more", ""),
    ],
)
def test_a_wrong_override_is_refused_by_name(override: str, message: str, hint: str) -> None:
    with pytest.raises(UsageFault) as fault:
        resolve("tiny", [override])
    assert message in fault.value.message
    assert hint in fault.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: a\nmodel: {preset: tiny}\nstagse: []\n", "wrong.yaml:3: no key stagse"),
        ("about: a\nabout: b\n", "wrong.yaml:2: about is given twice"),
        ("about: [a\n", "not YAML"),
        ("about: a\x00\n", "not YAML: unacceptable character"),
        ("about: a\nseed: !!int b\n", "wrong.yaml:2: not YAML: 'b' is no value of the kind int"),
        ("about: a\nseed: 2026-13-45\n", "wrong.yaml:2: not YAML"),
        ("about: &a [a]\nseed: *a\n", "wrong.yaml:2: *a: a recipe has no aliases"),
        ("a: &a [x]\n" + "".join(f"b{n}: &a [{'*a, ' * 9}*a]\n" for n in range(40)), "no aliases"),
        ("about: " + "[" * 5000, "wrong.yaml:1: nested more than 20 deep"),
        ("about: a\n" + "# long\n" * 100_000, "more than 200,000 bytes are no recipe"),
        ("- a\n", "not a mapping"),
        (
            "about: a\nmodel:\n  preset: tiny\nstages:\n  - name: x\n    sets: []\n    steps: 1\n",
            "wrong.yaml:6: stages.0.sets",
        ),
        ("about: a\nmodel: {preset: tiny}\nstages: [{name: x, sets: [{set: s}]}]\n", "either `epochs` or `steps`"),
    ],
)
def test_a_wrong_file_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageFault) as fault:
        resolve(str(path))
    assert message in fault.value.message


def test_a_wrong_name_gets_the_likely_one() -> None:
    with pytest.raises(UsageFault) as fault:
        resolve("stamp-2b-resaon")
    assert "stamp-2b-reason" in fault.value.hint


def test_values_are_typed_and_know_where_they_are_from() -> None:
    resolved = resolve(
        "tiny", ["optimizer.learning_rate=1e-3", "stages.0.sets=[{set: a}]", "data.root=7", "trackers=[wandb]"]
    )
    recipe, origins = resolved.recipe, resolved.origins
    assert recipe.optimizer.learning_rate == 1e-3
    assert recipe.data.root == "7"
    assert recipe.trackers == ["wandb"]
    assert origins["optimizer.learning_rate"] == origins["data.root"] == "--set"
    assert origins["optimizer.clip"] == "default"
    file, line = origins["batch.dialogues"].split(":")
    written = (Path("stamp_train/recipes") / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert written.strip().startswith("dialogues:")


def test_a_method_given_by_its_name_may_be_given_settings() -> None:
    resolved = resolve("stamp-2b", ["method=text4seg", "method.grid=24"])
    assert (resolved.recipe.method.name, resolved.recipe.method.grid) == ("text4seg", 24)
    assert resolved.origins["method.name"] == resolved.origins["method.grid"] == "--set"
    assert resolved.origins["method.label"] == "default"


def test_a_list_given_by_set_is_checked_like_a_file() -> None:
    with pytest.raises(UsageFault) as fault:
        resolve("tiny", ["stages.0.sets=[{set: a, pases: 2}]"])
    assert fault.value.hint == "did you mean stages.0.sets.0.passes?"


@pytest.mark.parametrize("name", names())
def test_the_resolved_recipe_can_be_run_again(name: str, tmp_path: Path) -> None:
    resolved = resolve(name, ["seed=5"])
    path = tmp_path / "again.yaml"
    path.write_text(resolved.yaml(), encoding="utf-8")
    again = resolve(str(path))
    assert again.recipe == resolved.recipe
    assert set(again.origins) == set(resolved.origins) == set(resolved.leaves())


@given(rate=st.floats(1e-9, 1.0), seed=st.integers(0, 10**9))
def test_every_number_survives_the_way_through_text(rate: float, seed: int) -> None:
    recipe = resolve("tiny", [f"optimizer.learning_rate={rate!r}", f"seed={seed}"]).recipe
    assert (recipe.optimizer.learning_rate, recipe.seed) == (rate, seed)


def test_fields_are_seen_through_annotations() -> None:
    assert fields_of(Optimizer)["clip"] is float
    assert fields_of(int) == {}


def test_half_of_a_surrogate_pair_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('about: "\\ud800"\nstages: [{name: "\\ud800", steps: 1, sets: [{set: a/train}]}]\n')
    with pytest.raises(UsageFault, match=r"mine\.yaml: "):
        resolve(str(path))
