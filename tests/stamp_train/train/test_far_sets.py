"""Sets behind a URL: the whole path of a training, over HTTP and from a real S3 server, equal to that from a folder."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from stamp_cli.train import app
from stamp_data.shards.manifest import read_manifest
from stamp_data.shards.stores import StoreFault, open_store
from stamp_schemas import StampError
from stamp_train.eval.cases import open_sets

from ...far import KINDS, far_away
from ...serving import serve
from ..runs import RECIPE, log_of, make_shards

VAL = "refcoco-unc/val"
SHORT = RECIPE.replace("steps: 6", "steps: 3").replace("steps: 4", "steps: 2").replace("every: 2", "every: 1")
DRY = ("--dry-run", "--devices", "2", "--json")


def call(*arguments: object) -> str:
    """`stamp-train ARGUMENTS…` in this process, which has torch loaded already; what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        app()([str(argument) for argument in arguments], standalone_mode=False)
    torch.use_deterministic_algorithms(False)
    return printed.getvalue()


def rows(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "short.yaml"
    path.write_text(SHORT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def near(shards: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that reads a folder, with all that the commands say of it."""
    out = tmp_path_factory.mktemp("near")
    everything(recipe, str(shards), out)
    return out


def everything(recipe: Path, root: str, out: Path, *more: str) -> None:
    """Dry run, plan, run, resumption, evaluation and card of sets below a folder or a URL; what they say, in `out`."""
    at = ("--set", f"data.root={root}", *more)
    (out / "dry.json").write_text(call("run", recipe, *at, *DRY))
    (out / "plan.json").write_text(call("plan", "show", recipe, "--step", 4, "--ranks", 2, *at, "--json"))
    call("run", recipe, *at, "--out", out / "run", "--json")
    call("run", recipe, *at, "--out", out / "again", "--resume", out / "run/checkpoints/step-000004", "--json")
    short = ("--max-new-tokens", 4)  # else an untrained model goes on for seconds
    (out / "eval.json").write_text(call("eval", out / "run", f"{root}/{VAL}", *short, "--out", out / "eval", "--json"))
    (out / "oracle.json").write_text(call("eval", "--oracle", f"{root}/{VAL}", "--out", out / "oracle", "--json"))
    call("export", out / "run", out / "model")


@pytest.fixture(scope="module", params=KINDS)
def far(
    request: pytest.FixtureRequest, shards: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """The same behind a URL, through a cache that has room for less than half of the shards."""
    out = tmp_path_factory.mktemp(request.param)
    with far_away(request.param, shards, stutter=9) as url:
        cache = ("--set", f"data.cache.folder={out / 'cache'}", "--set", f"data.cache.limit={room(shards) / 1e9}")
        everything(recipe, url, out, *cache, "--set", "data.store_patience=5")
        yield out, url


def room(shards: Path) -> int:
    """Bytes of the largest shard, and a little more."""
    sizes = [entry.bytes for path in shards.rglob("manifest.json") for entry in read_manifest(path.parent).shards]
    assert max(sizes) + 1000 < sum(sizes) / 2
    return max(sizes) + 1000


def test_the_dry_run_says_the_same(near: Path, far: tuple[Path, str]) -> None:
    assert (far[0] / "dry.json").read_text(encoding="utf-8") == (near / "dry.json").read_text(encoding="utf-8")
    assert json.loads((near / "dry.json").read_text(encoding="utf-8"))["stages"][0]["stage"]["steps"] == 3


def test_the_plan_names_the_same(near: Path, far: tuple[Path, str]) -> None:
    assert (far[0] / "plan.json").read_text(encoding="utf-8") == (near / "plan.json").read_text(encoding="utf-8")


def test_training_and_evaluations_are_equal_to_the_bit(near: Path, far: tuple[Path, str]) -> None:
    assert log_of(far[0] / "run") == log_of(near / "run")
    assert [row["stage"] for row in log_of(near / "run")] == ["first"] * 3 + ["second"] * 2
    evaluations = rows(near / "run" / "evaluations.jsonl")
    assert evaluations and evaluations[-1]["metrics"]["label_ciou"] > 0.3
    assert rows(far[0] / "run" / "evaluations.jsonl") == evaluations


def test_it_goes_on_from_a_checkpoint(far: tuple[Path, str]) -> None:
    out = far[0]
    assert log_of(out / "again") == [row for row in log_of(out / "run") if row["step"] == 5]


def test_the_cache_holds_what_its_limit_allows(shards: Path, far: tuple[Path, str]) -> None:
    kept = [path.stat().st_size for path in (far[0] / "cache").glob("*.*") if path.suffix in (".tar", ".part")]
    assert 0 < sum(kept) <= room(shards)


@pytest.mark.parametrize("name", ["eval", "oracle"])
def test_scores_are_the_same(name: str, near: Path, far: tuple[Path, str]) -> None:
    def scores(out: Path) -> Any:
        return json.loads((out / f"{name}.json").read_text(encoding="utf-8"))["sets"]

    assert scores(far[0]) == scores(near)
    assert scores(near)[0]["cases"] > 0


def test_the_card_names_the_sets(shards: Path, far: tuple[Path, str]) -> None:
    card = (far[0] / "model" / "README.md").read_text(encoding="utf-8")
    for name in ("refcoco-unc/train", "llava/train", "grefcoco-unc/train"):
        assert f"`{read_manifest(shards / name).digest}`" in card


def test_what_is_not_there_is_one_line(recipe: Path, far: tuple[Path, str], tmp_path: Path) -> None:
    missing = ("--set", f"data.root={far[1]}/elsewhere", "--set", "data.store_patience=1")
    for more in (DRY, ("--out", tmp_path / "run")):
        with pytest.raises(StampError, match=r"elsewhere/\S+: no manifest\.json"):
            call("run", recipe, *missing, *more)
    with pytest.raises(StampError, match=r"elsewhere: no manifest\.json here"):
        call("eval", "--oracle", f"{far[1]}/elsewhere", "--out", tmp_path / "eval")


def test_a_place_that_is_gone_is_tried_as_long_as_the_recipe_says(shards: Path, recipe: Path, tmp_path: Path) -> None:
    """And counts nothing as damaged."""
    with serve(shards) as (url, handler):
        handler.failures, handler.requests = 10**6, ()
        with pytest.raises(
            StoreFault, match=r"refcoco-unc/train/manifest\.json: cannot be read, \d+ attempts within 0.4 s"
        ):
            call(
                "run",
                recipe,
                "--set",
                f"data.root={url}",
                "--set",
                "data.store_patience=0.4",
                "--out",
                tmp_path / "run",
            )
        assert len(handler.requests) > 2
        handler.failures = 0
        (cases,), _ = open_sets([open_store(f"{url}/{VAL}", patience=0.1)])
        handler.failures = 10**6
        with pytest.raises(StoreFault, match=r"shard-000000\.tar: cannot be read, \d+ attempts within 0\.1 s"):
            cases.load(cases.rows[0])


def test_a_folder_as_a_url(near: Path, shards: Path, recipe: Path) -> None:
    assert call("run", recipe, "--set", f"data.root={shards.as_uri()}", *DRY) == (near / "dry.json").read_text(
        encoding="utf-8"
    )
