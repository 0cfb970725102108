"""Runs that are killed, moved and taken up again: real processes, float32, compared bit by bit."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from stamp_data.writing import hold
from stamp_train.train.checksums import find_faults
from stamp_train.train.folder import find

from ...warm import Running
from ..runs import TIMEOUT, begin, command, launch, log_of, make_shards, train, write_recipe

pytestmark = pytest.mark.slow
WEIGHTS = "final/model.safetensors"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages in one process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = train(write_recipe(folder), shards, folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def kill_after(run: Running, out: Path, steps: int) -> None:
    """Kill a run without warning once it has logged so many steps."""
    until = time.monotonic() + TIMEOUT
    while not (out / "log.jsonl").exists() or len(log_of(out)) < steps:
        assert not run.ended and time.monotonic() < until, run.wait(1)
        time.sleep(0.005)
    os.kill(run.pids[0], signal.SIGKILL)
    assert run.wait().returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", [0, 1])
def test_a_killed_run_ends_in_the_same_bits(seed: int, shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Killed twice at random steps, of which one may lie in each stage; whatever was half written is no hindrance."""
    recipe, out = write_recipe(tmp_path), tmp_path / "run"
    for steps in sorted(random.Random(seed).sample(range(2, 10), 2)):
        kill_after(begin(recipe, shards, out, "--resume", "auto"), out, steps)
    done = train(recipe, shards, out, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert log_of(out) == log_of(undisturbed)
    assert (out / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()
    assert (out / "evaluations.jsonl").read_bytes() == (undisturbed / "evaluations.jsonl").read_bytes()


def test_a_run_goes_on_from_any_of_its_checkpoints(shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    """From within the second stage, in another folder: the rest of the curve, and the same weights."""
    out = tmp_path / "run"
    start = find(undisturbed / "checkpoints")[0]
    assert start.name == "step-000008"
    done = train(write_recipe(tmp_path), shards, out, "--resume", str(start))
    assert done.returncode == 0, done.stderr
    assert log_of(out) == log_of(undisturbed)[8:]
    assert (out / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_in_the_same_bits(
    shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """In two processes, of which one chooses for both."""
    recipe, out = write_recipe(tmp_path), tmp_path / "run"
    shutil.copytree(undisturbed, out)
    shutil.rmtree(out / "final")
    older, newest = find(out / "checkpoints")
    moments = newest / "optimizer.pt"
    moments.write_bytes(moments.read_bytes()[:-100] + bytes(100))
    done = train(recipe, shards, out, "--resume", str(newest))
    fault = f"damaged: {newest}: optimizer.pt: damaged: its bytes have changed"
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {fault}\nhint: --resume auto")
    done = train(recipe, shards, out, "--resume", "auto", processes=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"{fault}; going on from {older} instead\n") == 1
    same_curve(out, undisturbed)
    assert find_faults(newest) == []  # written anew


def test_a_second_run_is_kept_out_and_a_dead_one_is_no_obstacle(shards: Path, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path), tmp_path / "run"
    long = ("--set", "stages.0.steps=100000")
    first = subprocess.Popen(
        command(recipe, shards, out, *long),
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        until = time.monotonic() + TIMEOUT
        while not find(out / "checkpoints"):
            assert first.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        second = train(recipe, shards, out, *long, "--resume", "auto", processes=2)
        assert second.returncode == 1
        said = rf"error: {out}: another run is at work here \(process {first.pid} on .+\)\nhint: wait .*\n"
        assert re.match(said, second.stderr) and second.stderr.count("error: ") == 1, second.stderr
    finally:
        first.kill()
        first.communicate()
    assert (out / ".lock").exists()
    with hold(out, "run"):
        assert (out / ".lock").exists()
    assert not (out / ".lock").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_beside_a_run_without_a_checkpoint_nothing_is_said_to_begin_anew(
    processes: int, shards: Path, tmp_path: Path
) -> None:
    recipe, out = write_recipe(tmp_path), tmp_path / "run"
    out.mkdir()
    (out / "log.jsonl").write_text('{"step": 1}\n')

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        if processes == 1:
            return train(recipe, shards, out, "--resume", "auto", *more)
        return launch(recipe, shards, out, "--resume", "auto", *more, processes=processes).wait(TIMEOUT)

    with hold(out, "run"):
        done = call()
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {out}: another run is at work here") and "anew" not in done.stderr
    done = call("--set", "stages.0.steps=1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the run begins anew, and its log of 1 steps goes") == 1


def test_a_finished_run_is_not_begun_again(shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    done = train(write_recipe(tmp_path), shards, undisturbed)
    assert done.returncode == 2
    assert "--resume auto" in done.stderr


def test_two_processes_see_the_same_batches_and_losses(shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Begun on two, gone on with on one, from the middle of the first stage: the curve of one process throughout."""
    recipe, out = write_recipe(tmp_path), tmp_path / "two"
    done = train(recipe, shards, out, processes=2)
    assert done.returncode == 0, done.stderr
    same_curve(out, undisturbed)
    moved = tmp_path / "moved"
    assert (
        train(recipe, shards, moved, "--set", "stages.0.steps=6", "--set", "saving.keep=5", processes=2).returncode == 0
    )
    for checkpoint in find(moved / "checkpoints")[2:]:
        shutil.rmtree(checkpoint)
    shutil.rmtree(moved / "final")
    done = train(recipe, shards, moved, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert "step-000004" in done.stderr
    same_curve(moved, undisturbed)


def test_one_process_is_gone_on_with_on_two(shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    start = find(undisturbed / "checkpoints")[0]
    done = train(write_recipe(tmp_path), shards, out, "--resume", str(start), processes=2)
    assert done.returncode == 0, done.stderr
    rows, expected = log_of(out), log_of(undisturbed)[8:]
    assert [row["batch_digest"] for row in rows] == [row["batch_digest"] for row in expected]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], abs=1e-5)


def same_curve(out: Path, other: Path) -> None:
    rows, expected = log_of(out), log_of(other)
    for exact in ("step", "stage", "batch_digest", "dialogues", "lr"):
        assert [row[exact] for row in rows] == [row[exact] for row in expected]
    for close in ("loss", "loss_text", "loss_mask", "grad_norm"):
        assert [row[close] for row in rows] == pytest.approx([row[close] for row in expected], abs=1e-5)
