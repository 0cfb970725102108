"""Weights in shards (FSDP2, DeepSpeed): the curve of whole copies; checkpoints bind neither engine nor number of processes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from stamp_train.backbones.load import load_checkpoint
from stamp_train.train.checkpoint import read_optimizer
from stamp_train.train.folder import find
from stamp_train.train.machine import native_bfloat16

from ...warm import warm
from ..runs import TIMEOUT, log_of, make_shards, train, write_recipe

pytestmark = pytest.mark.slow
SHORT = (
    *("--set", "stages.0.steps=3", "--set", "stages.1.steps=2", "--set", "saving.every=1", "--set", "saving.keep=9"),
    *("--set", "evaluation.records=3", "--set", "evaluation.every=2"),  # of three records, one rank has one less
)
WEIGHTS = "final/model.safetensors"
needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
SHARDED = ["fsdp", "fsdp-zero2", *(pytest.param(name, marks=needs_deepspeed) for name in ("zero-2", "zero-3"))]


def options_of(name: str, folder: Path) -> list[str]:
    """`--set` of an engine, or of a stage of ZeRO: the file for that leaves everything to be cut up, however small."""
    stage = name.removeprefix("zero-")
    if stage == name:
        return ["--set", f"engine={name}"]
    zero = {"stage": int(stage), "stage3_param_persistence_threshold": 0}
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"zero_optimization": zero, "bf16": {"enabled": "auto"}}))
    return ["--set", "engine=deepspeed", "--set", f"deepspeed={file}"]


SHARE = """
import os
import sys
from torch.distributed.tensor import DTensor
from stamp_train.train.engine import distribute, open_accelerator
from stamp_train.backbones.presets import build_preset
from stamp_train.recipes import resolve

recipe = resolve("tiny", [*sys.argv[1:], "model.precision=float32"]).recipe
accelerator = open_accelerator(recipe)
network, _ = build_preset("tiny")
whole = sum(weight.numel() for weight in network.parameters())
distribute(accelerator, network, recipe)
local = [w.to_local() if isinstance(w, DTensor) else getattr(w, "ds_tensor", w) for w in network.parameters()]
held = sum(share.numel() for share in local)
print(f"share {held / whole:.2f}", flush=True)
accelerator.wait_for_everyone()
os._exit(0)  # as a run's processes do
"""


@pytest.mark.parametrize(
    ("engine", "share"),
    [
        *(("ddp", "1.00"), ("fsdp", "0.50"), ("fsdp-zero2", "0.50")),
        pytest.param("zero-3", "0.50", marks=needs_deepspeed),
    ],
)
def test_a_process_holds_its_share(engine: str, share: str, tmp_path: Path) -> None:
    """Engines that a library passes over in silence would pass all other tests here."""
    script = tmp_path / "share.py"
    script.write_text(SHARE, encoding="utf-8")
    done = warm.run("python", script, *options_of(engine, tmp_path)[1::2], processes=2, timeout=TIMEOUT)
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
    zero = ("zero-2", "zero-3") if importlib.util.find_spec("deepspeed") else ()
    engines = ("ddp", "fsdp", "fsdp-zero2", *zero)
    for engine in engines:
        done = train(recipe, shards, folder / engine, *SHORT, *options_of(engine, folder), processes=2)
        assert done.returncode == 0, done.stderr
    return {engine: folder / engine for engine in engines}


def same_curve(out: Path, other: Path, first: int = 0) -> None:
    rows, expected = log_of(out), log_of(other)[first:]
    assert [row["batch_digest"] for row in rows] == [row["batch_digest"] for row in expected]
    for close in ("loss", "loss_text", "loss_mask", "grad_norm"):
        assert [row[close] for row in rows] == pytest.approx([row[close] for row in expected], abs=1e-5)


@pytest.mark.parametrize("engine", SHARDED)
def test_shards_give_the_curve_of_whole_copies(engine: str, runs: dict[str, Path]) -> None:
    same_curve(runs[engine], runs["ddp"])
    measured = [
        [
            json.loads(line)["metrics"]
            for line in (runs[name] / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for name in (engine, "ddp")
    ]
    assert len(measured[0]) == 3
    assert all(one == pytest.approx(other, abs=0.01) for one, other in zip(*measured, strict=True))


@pytest.mark.parametrize("engine", SHARDED)
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
    used = torch.bfloat16 if native_bfloat16() else torch.float32
    assert {weight.dtype for weight in load_checkpoint(tmp_path / "run" / "final").parameters()} == {used}


@needs_deepspeed
def test_zero_goes_on_from_whole_copies(runs: dict[str, Path], shards: Path, tmp_path: Path) -> None:
    start = runs["ddp"] / "checkpoints" / "step-000004"
    more = (*options_of("zero-3", tmp_path), "--resume", str(start))
    done = train(write_recipe(tmp_path), shards, tmp_path / "run", *SHORT, *more, processes=2)
    assert done.returncode == 0, done.stderr
    same_curve(tmp_path / "run", runs["ddp"], 4)


@needs_deepspeed
def test_zero_keeps_the_digits_that_half_precision_lacks(runs: dict[str, Path], shards: Path, tmp_path: Path) -> None:
    """One process with several packs a step: gradients add up over packs, and a resumed run ends in the same bits."""
    recipe = write_recipe(tmp_path)
    half = ("--set", "model.precision=bf16", "--set", "batch.pack_tokens=150", "--set", "evaluation.sets=[]")
    options = (*SHORT[:8], *half, *options_of("zero-1", tmp_path))
    whole = train(recipe, shards, tmp_path / "whole", *options, "--json")
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["steps"] == 5  # and DeepSpeed says nothing in between
    rows = log_of(tmp_path / "whole")
    start = tmp_path / "whole" / "checkpoints" / "step-000002"
    done = train(recipe, shards, tmp_path / "again", *options, "--resume", str(start))
    assert done.returncode == 0, done.stderr
    assert log_of(tmp_path / "again") == rows[2:]
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in log_of(runs["ddp"])], abs=0.05)
    told = json.loads((tmp_path / "whole" / "deepspeed.json").read_bytes())
    assert told["bf16"]["enabled"] == native_bfloat16() and told["gradient_clipping"] == 1.0
