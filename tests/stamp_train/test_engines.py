"""Weights in shards (FSDP2): the curve of whole copies, and checkpoints that neither engine nor number of processes binds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stamp_train.checkpoint import find, read_optimizer
from stamp_train.model.load import load_checkpoint

from .runs import TIMEOUT, log_of, make_shards, train, write_recipe

pytestmark = pytest.mark.slow
SHORT = (
    *("--set", "stages.0.steps=3", "--set", "stages.1.steps=2", "--set", "saving.every=1", "--set", "saving.keep=9"),
    *("--set", "evaluation.records=3", "--set", "evaluation.every=2"),  # of three records, one rank has one less
)
WEIGHTS = "final/model.safetensors"


SHARE = """
import sys
from torch.distributed.tensor import DTensor
from stamp_train.engine import distribute, open_accelerator
from stamp_train.model.presets import build_preset
from stamp_train.recipes import resolve

recipe = resolve("tiny", [f"engine={sys.argv[1]}", "optimizer.kind=adamw"]).recipe
accelerator = open_accelerator(recipe)
network, _ = build_preset("tiny")
whole = sum(weight.numel() for weight in network.parameters())
distribute(accelerator, network, recipe)
held = sum((w.to_local() if isinstance(w, DTensor) else w).numel() for w in network.parameters())
print(f"share {held / whole:.2f}", flush=True)
accelerator.wait_for_everyone()
accelerator.end_training()
"""


@pytest.mark.parametrize(("engine", "share"), [("ddp", "1.00"), ("fsdp", "0.50"), ("fsdp-zero2", "0.50")])
def test_a_process_holds_its_share(engine: str, share: str, tmp_path: Path) -> None:
    """Engines that a library passes over in silence would pass all other tests here."""
    script = tmp_path / "share.py"
    script.write_text(SHARE, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, str(script), engine], capture_output=True, text=True, timeout=TIMEOUT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"share {share}") == done.stdout.count("share") == 2


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run in two processes by each engine."""
    folder = tmp_path_factory.mktemp("engines")
    recipe = write_recipe(folder)
    for engine in ("ddp", "fsdp", "fsdp-zero2"):
        done = train(recipe, shards, folder / engine, *SHORT, "--set", f"engine={engine}", processes=2)
        assert done.returncode == 0, done.stderr
    return {engine: folder / engine for engine in ("ddp", "fsdp", "fsdp-zero2")}


def same_curve(out: Path, other: Path, first: int = 0) -> None:
    rows, expected = log_of(out), log_of(other)[first:]
    assert [row["batch_digest"] for row in rows] == [row["batch_digest"] for row in expected]
    for close in ("loss", "loss_text", "loss_mask", "grad_norm"):
        assert [row[close] for row in rows] == pytest.approx([row[close] for row in expected], abs=1e-5)


@pytest.mark.parametrize("engine", ["fsdp", "fsdp-zero2"])
def test_shards_give_the_curve_of_whole_copies(engine: str, runs: dict[str, Path]) -> None:
    same_curve(runs[engine], runs["ddp"])
    measured = [
        [json.loads(line)["metrics"] for line in (runs[name] / "evaluations.jsonl").read_text().splitlines()]
        for name in (engine, "ddp")
    ]
    assert len(measured[0]) == 3
    assert all(one == pytest.approx(other, abs=0.01) for one, other in zip(*measured, strict=True))


@pytest.mark.parametrize("engine", ["fsdp", "fsdp-zero2"])
def test_checkpoints_are_whole(engine: str, runs: dict[str, Path]) -> None:
    """They open as a plain model, with the weights and moments of whole copies."""
    ours, theirs = (find(runs[name] / "checkpoints")[3] for name in (engine, "ddp"))
    weights = load_checkpoint(theirs).state_dict()
    for name, weight in load_checkpoint(ours).state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-4, atol=1e-5)
    moments = read_optimizer(theirs)["state"]
    for number, state in read_optimizer(ours)["state"].items():
        assert state["step"] == moments[number]["step"] == 1  # of the second stage
        torch.testing.assert_close(state["exp_avg"], moments[number]["exp_avg"], rtol=1e-4, atol=1e-5)


def test_a_sharded_run_resumes_in_the_same_bits(runs: dict[str, Path], shards: Path, tmp_path: Path) -> None:
    start = runs["fsdp"] / "checkpoints" / "step-000002"
    more = ("--set", "engine=fsdp", "--resume", str(start))
    done = train(write_recipe(tmp_path), shards, tmp_path / "run", *SHORT, *more, processes=2)
    assert done.returncode == 0, done.stderr
    assert log_of(tmp_path / "run") == log_of(runs["fsdp"])[2:]
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (runs["fsdp"] / WEIGHTS).read_bytes()


def test_a_run_changes_its_engine(runs: dict[str, Path], shards: Path, tmp_path: Path) -> None:
    """From shards on two processes to one process, and from whole copies to shards."""
    start = runs["fsdp"] / "checkpoints" / "step-000002"
    recipe = write_recipe(tmp_path)
    done = train(recipe, shards, tmp_path / "one", *SHORT, "--resume", str(start))
    assert done.returncode == 0, done.stderr
    same_curve(tmp_path / "one", runs["ddp"], 2)
    start = runs["ddp"] / "checkpoints" / "step-000004"
    more = ("--set", "engine=fsdp-zero2", "--resume", str(start))
    done = train(recipe, shards, tmp_path / "two", *SHORT, *more, processes=2)
    assert done.returncode == 0, done.stderr
    same_curve(tmp_path / "two", runs["ddp"], 4)


def test_an_adapter_in_half_precision_trains_in_shards(shards: Path, tmp_path: Path) -> None:
    more = ("model.tuning=lora", "model.lora.rank=4", "model.precision=bf16", "engine=fsdp", "evaluation.sets=[]")
    options = [option for one in more for option in ("--set", one)]
    done = train(write_recipe(tmp_path), shards, tmp_path / "run", *SHORT[:8], *options, processes=2)
    assert done.returncode == 0, done.stderr
    rows = log_of(tmp_path / "run")
    assert rows[2]["loss"] < rows[0]["loss"]
    assert {weight.dtype for weight in load_checkpoint(tmp_path / "run" / "final").parameters()} == {torch.bfloat16}
