"""Dialogues of several rounds from raw data to masks, by the commands: build, dry run, training, evaluation, use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stamp_data.shards.reader import ShardSet

from ..stamp_train.runs import RECIPE, log_of
from ..warm import warm

RAW = ("--min-tokens", 4, "--max-tokens", 16)
STAGES = """stages:
  - {name: rounds, steps: 4, sets: [{set: refcoco-unc/train}, {set: rounds/grefcoco-unc/train}]}
evaluation: {sets: [rounds/refcoco-unc/val], records: 3, images: 1}
"""


def call(*arguments: object) -> str:
    done = warm.run(*arguments, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RefCOCO and gRefCOCO as they are, and the same joined below `rounds`."""
    folder = tmp_path_factory.mktemp("rounds")
    call("stamp-data", "synth", folder / "raw", "--images", 40, "--size", "96x64", "--workers", 1)
    for out, more in (("shards", ()), ("shards/rounds", ("--rounds", 3))):
        build = (
            "build",
            "refcoco",
            "refclef",
            "refcoco+",
            "refcocog",
            "grefcoco",
            "--split",
            "train",
            "--split",
            "val",
            "--root",
            folder / "raw",
            "--out",
            folder / out,
            "--workers",
            1,
        )
        call("stamp-data", *build, *RAW, *more)
    return folder / "shards"


@pytest.fixture(scope="module")
def run(shards: Path) -> Path:
    """A run of a few steps on both, scored on joined dialogues while it trains."""
    recipe, out = shards.parent / "recipe.yaml", shards.parent / "run"
    head, _, rest = RECIPE.partition("stages:")
    recipe.write_text(head + STAGES + "saving" + rest.partition("saving")[2], encoding="utf-8")
    told = call("stamp-train", "run", recipe, "--set", f"data.root={shards}", "--out", out, "--json")
    (out / "told.json").write_text(told.partition("\n")[0])
    return out


def test_inspect_and_verify_tell_of_rounds(shards: Path) -> None:
    said = call("stamp-data", "inspect", shards / "rounds/refcoco-unc/train")
    assert "dialogues joined: " in said and " of 3 rounds" in said
    assert "dialogues joined" not in call("stamp-data", "inspect", shards / "refcoco-unc/train")
    report = json.loads(call("stamp-data", "inspect", shards / "rounds/refcoco-unc/val", "--json").partition("\n")[0])
    with ShardSet(shards / "rounds/refcoco-unc/val") as found:
        counts = [len(one.messages) // 2 for loaded in found for one in loaded.record.dialogues]
    rounds = {int(number): count for number, count in report["statistics"]["all"]["rounds"].items()}
    assert rounds == {number: counts.count(number) for number in sorted(set(counts)) if number > 1}
    assert "no fault" in call("stamp-data", "verify", shards)


def test_a_repair_knows_what_the_build_knew(shards: Path, tmp_path: Path) -> None:
    """Also of things that nothing refers to: without them, other references would be drawn."""
    good = shards / "rounds/refcocog-umd/train"
    folder = Path(shutil.copytree(good, tmp_path / "refcocog-umd/train"))
    data = bytearray((folder / "shard-000000.tar").read_bytes())
    data[3000] ^= 1
    (folder / "shard-000000.tar").write_bytes(data)
    told = call("stamp-data", "verify", folder, "--repair", "--root", shards.parent / "raw")
    assert "as it was before the damage" in told
    assert (folder / "shard-000000.tar").read_bytes() == (good / "shard-000000.tar").read_bytes()


def test_a_run_learns_from_rounds(run: Path) -> None:
    rows = log_of(run)
    assert len([row for row in rows if "loss_text" in row]) == 4
    assert json.loads((run / "told.json").read_text())["label_ciou"] > 0.3


def test_an_evaluation_scores_every_round(run: Path, shards: Path, tmp_path: Path) -> None:
    place = shards / "rounds/refcoco-unc/val"
    told = call(
        "stamp-train",
        "eval",
        run,
        place,
        "--mode",
        "both",
        "--max-new-tokens",
        8,
        "--tables",
        "--out",
        tmp_path / "evaluation",
    )
    assert "round 1" in told and "round 3" in told
    results: dict[str, Any] = json.loads((tmp_path / "evaluation/results.json").read_bytes())
    lines = [json.loads(line) for line in (tmp_path / "evaluation/cases.jsonl").read_text().splitlines()]
    with ShardSet(place) as found:
        asked = [one for loaded in found for one in loaded.record.dialogues]
        masks = sum(len(one.targets) for one in asked)
    (one,) = results["sets"]
    assert one["cases"] == sum(len(talk.messages) // 2 for talk in asked)
    assert one["masks"] == masks
    assert one["damaged"] == 0
    for number, scores in one["rounds"].items():
        for variant in ("free", "forced"):
            ious = [line["iou"] for line in lines if line.get("round") == int(number) and line["variant"] == variant]
            assert scores[variant]["stamp"]["giou"] == pytest.approx(sum(ious) / len(ious), abs=1e-5)
    assert results["card"]["settings"]["sets"][0]["rounds"] == 3
    assert "dialogues of up to 3 rounds" in told


def test_its_checkpoint_answers_and_talks(run: Path, shards: Path, tmp_path: Path) -> None:
    picture = next((shards.parent / "raw").rglob("*.jpg"))
    predicted = call(
        "stamp-train", "predict", run, picture, "-t", "Please segment the ball.", "--force-mask", "--max-new-tokens", 3,
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert (tmp_path / "out").is_dir(), predicted


def test_the_recipe_for_rounds_runs_dry(shards: Path, tmp_path: Path) -> None:
    tiny = ("--set", "model.start=", "--set", "model.preset=tiny", "--set", f"data.root={shards}")
    sizes = ("--set", "data.min_tokens=4", "--set", "data.max_tokens=16", "--set", "batch.dialogues=8")
    told = call("stamp-train", "run", "stamp-2b-rounds", "--dry-run", *tiny, *sizes, "--out", tmp_path / "run")
    assert "rounds" in told
    missing = warm.run(
        "stamp-train", "run", "stamp-2b-rounds", "--dry-run", *tiny[:4], "--set", f"data.root={tmp_path}"
    )
    assert missing.returncode != 0 and "Traceback" not in missing.stderr
