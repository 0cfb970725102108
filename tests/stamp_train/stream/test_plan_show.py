"""`stamp-train plan show`: what it names is what the stream hands out, by rank and pack, in either stage."""

from __future__ import annotations

import json
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from stamp_data.shards.reader import ShardSet
from stamp_train.recipes import Resolved, resolve
from stamp_train.stream.examples import prepare_with
from stamp_train.stream.loader import stage_loader
from stamp_train.train.network import build_network

from ...warm import warm
from ..runs import make_shards, write_recipe

SECOND = 7  # first step of the recipe's second stage


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="module")
def resolved(shards: Path) -> Resolved:
    return resolve(str(write_recipe(shards)), [f"data.root={shards}", "batch.pack_tokens=400"])


def show(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return warm.run("stamp-train", "plan", "show", *arguments)


def streamed(
    resolved: Resolved, stage: int, step: int, world: int, out: Path
) -> tuple[str, list[tuple[int, int, str]]]:
    """Digest of a step's batch, and (rank, pack, record/dialogue) of all that the loaders hand out for it."""
    network, processor = build_network(resolved.recipe)
    found = []
    for rank in range(world):
        feed = stage_loader(resolved.recipe, stage, prepare_with(processor), network.method, rank, world, out)
        batch = next(islice(feed, step, None))
        found += [
            (rank, number, dialogue.name)
            for number, pack in enumerate(batch.packs)
            for example in pack
            for dialogue in example.dialogues
        ]
    return batch.whole.digest, found


@pytest.mark.parametrize(("step", "stage", "within"), [(3, 0, 2), (SECOND, 1, 0), (SECOND + 2, 1, 2)])
@pytest.mark.parametrize("world", [1, 3])
def test_it_names_what_the_stream_hands_out(
    step: int, stage: int, within: int, world: int, resolved: Resolved, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(resolved.yaml(), encoding="utf-8")
    done = show(tmp_path, "--step", str(step), "--ranks", str(world), "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    digest, expected = streamed(resolved, stage, within, world, tmp_path)
    assert [(row["rank"], row["pack"], f"{row['key']}/{row['dialogue']}") for row in shown["seen"]] == expected
    assert max(pack for _, pack, _ in expected) > 0 or world > 1  # packs are told apart
    assert (shown["batch_digest"], shown["stage"], shown["dialogues"]) == (digest, ("first", "second")[stage], 8)
    said = expressions(shards, resolved.recipe.stages[stage].sets[0].set)
    ours = [row for row in shown["seen"] if row["set"] == resolved.recipe.stages[stage].sets[0].set]
    assert ours and all(said[row["key"], row["dialogue"]] == row["expression"] for row in ours)


def expressions(shards: Path, name: str) -> dict[tuple[str, str], str]:
    with ShardSet(shards / name) as records:
        read = [records.record(row) for row in records.rows]
    return {(record.key, dialogue.id): dialogue.expression for record in read for dialogue in record.dialogues}


def test_one_rank_alone_and_a_table_for_people(resolved: Resolved, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(resolved.yaml(), encoding="utf-8")
    everyone = json.loads(show(recipe, "--step", "2", "--ranks", "2", "--json").stdout)["seen"]
    done = show(recipe, "--step", "2", "--ranks", "2", "--rank", "1")
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["rank", "pack", "set", "epoch", "key", "dialogue", "expression"]
    mine = [row for row in everyone if row["rank"] == 1]
    assert 0 < len(mine) < len(everyone)
    assert [line.split(maxsplit=6) for line in lines] == [[str(value) for value in row.values()] for row in mine]


def test_a_run_that_saw_something_else_is_told(resolved: Resolved, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(resolved.yaml(), encoding="utf-8")
    digest = json.loads(show(tmp_path, "--step", "1", "--json").stdout)["batch_digest"]
    log: list[dict[str, Any]] = [{"step": 1, "batch_digest": digest}, {"step": 2, "batch_digest": "0" * 32}]
    (tmp_path / "log.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in log), encoding="utf-8")
    assert show(tmp_path, "--step", "1").returncode == 0
    done = show(tmp_path, "--step", "2")
    assert done.returncode == 1 and "step 2 saw batch 0000" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--step", "11"), 1, "no step 11"),
        (
            ("--step", "1", "--set", "data.root=nope"),
            1,
            "hint: --set data.root=FOLDER: built sets lie under it, now nope",
        ),
        (("--step", "1", "--ranks", "2", "--rank", "2"), 2, "--rank 2 of 2"),
        (("--step", "1", "--set", "batch.dialogue=3"), 2, "did you mean batch.dialogues"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...], code: int, said: str, resolved: Resolved, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(resolved.yaml(), encoding="utf-8")
    done = show(recipe, *arguments)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    done = show(tmp_path, "--step", "1")
    assert done.returncode == 2 and f"{tmp_path}: no folder of a run: no recipe.yaml" in done.stderr
