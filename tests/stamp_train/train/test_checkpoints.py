"""Checkpoints while they are written: training goes on, and a process that is killed then leaves the last good one."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stamp_schemas import StampError
from stamp_schemas.recipe import Saving
from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.presets import build_preset
from stamp_train.recipes import resolve
from stamp_train.train.checkpoint import CheckpointWriter, copied, read_optimizer
from stamp_train.train.engine import load_moments
from stamp_train.train.folder import Progress, find, read_progress
from stamp_train.train.network import save_network, without_weights
from stamp_train.train.optimizer import make_optimizer

from ...warm import warm
from ..runs import log_of, make_shards, train, write_recipe

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from stamp_schemas.recipe import Saving
from stamp_train.train.checkpoint import CheckpointWriter
from stamp_train.train.folder import Progress

def model(folder):
    (folder / "model.safetensors").write_bytes(bytes(1000))
    if die:
        os.kill(os.getpid(), signal.SIGKILL)

writer = CheckpointWriter(Path(sys.argv[1]), Saving(keep=1))
for step, die in ((1, False), (2, True)):
    writer.write(Progress(step=step, stage=0, stage_step=step, stream={}), {"state": torch.ones(9)}, model)
    writer.wait()
"""


def nothing(_: object) -> None:
    """A model that takes no room."""


def progress(step: int) -> Progress:
    return Progress(step=step, stage=0, stage_step=step, stream={})


def test_killed_while_it_writes_the_last_good_one_stays(tmp_path: Path) -> None:
    """Of one that is kept at a time, too: the old one goes only after the new one is there."""
    script, kept = tmp_path / "killed.py", tmp_path / "kept"
    script.write_text(KILLED, encoding="utf-8")
    done = warm.run("python", script, kept)
    assert done.returncode == -signal.SIGKILL
    assert [read_progress(path).step for path in find(kept)] == [1]
    assert torch.equal(read_optimizer(find(kept)[0])["state"], torch.ones(9))
    assert (kept / ".step-000002.partial" / "model.safetensors").exists()  # it was in the middle of it
    writer = CheckpointWriter(kept, Saving(keep=1))
    writer.write(progress(2), {}, nothing)
    writer.close()
    assert [path.name for path in kept.iterdir()] == ["step-000002"]


def test_the_newest_is_last_past_a_million_steps(tmp_path: Path) -> None:
    for step in (1_000_000, 999_999, 5):
        writer = CheckpointWriter(tmp_path, Saving(keep=3))
        writer.write(progress(step), {}, nothing)
        writer.close()
    assert [read_progress(path).step for path in find(tmp_path)] == [5, 999_999, 1_000_000]


def test_training_goes_on_while_one_is_written(tmp_path: Path) -> None:
    """Only the next checkpoint waits for this one."""
    writer, go_on = CheckpointWriter(tmp_path, Saving(keep=2)), threading.Event()
    began = time.monotonic()
    writer.write(progress(1), {}, lambda _: nothing(go_on.wait(30)))
    assert time.monotonic() - began < 5 and not find(tmp_path)
    threading.Timer(0.2, go_on.set).start()
    writer.write(progress(2), {}, nothing)
    assert [path.name for path in find(tmp_path)][:1] == ["step-000001"]
    writer.close()
    assert len(find(tmp_path)) == 2


def test_what_went_wrong_in_the_background_is_told(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    writer = CheckpointWriter(tmp_path, Saving())
    writer.write(progress(1), {}, fail)
    with pytest.raises(StampError, match="step-000001: not written: No space left on device"):
        writer.write(progress(2), {}, nothing)


def test_a_network_without_weights_is_saved_with_a_copy_of_them(tmp_path: Path) -> None:
    """Tied ones once; and what happens to the live network afterwards does not show."""
    network, processor = build_preset("tiny")
    outline = without_weights(network)
    assert {weight.device.type for weight in outline.parameters()} == {"meta"}
    expected = {name: weight.clone() for name, weight in network.state_dict().items()}
    weights = copied(network.state_dict(keep_vars=True))
    for weight in network.parameters():
        nn.init.zeros_(weight)
    save_network(outline, processor, tmp_path, weights)
    loaded = load_checkpoint(tmp_path).state_dict()
    assert set(loaded) == set(expected)
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.items())


def test_moments_come_back_and_settings_are_the_recipes() -> None:
    network, _ = build_preset("tiny")
    before, after = (
        make_optimizer(resolve("tiny", [f"optimizer.weight_decay={decay}"]).recipe, network) for decay in (0.1, 0.0)
    )
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    before.step()
    load_moments(after, copied(before.state_dict()))
    assert {group["weight_decay"] for group in before.param_groups} == {0.1}
    assert {group["weight_decay"] for group in after.param_groups} == {0.0}
    ours, theirs = (list(tensors(one.state_dict())) for one in (after, before))
    assert len(ours) == len(theirs) > 20
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def tensors(tree: Any) -> Iterator[torch.Tensor]:
    """All tensors of a nested value, in its order."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(value)


@pytest.mark.slow
def test_the_best_one_is_kept_wherever_it_was_measured(tmp_path: Path) -> None:
    """Between two checkpoints that were due, too."""
    more = ("saving.every=100", "saving.keep=1", "saving.best=text_accuracy", "evaluation.every=3")
    options = [option for one in more for option in ("--set", one)]
    out = tmp_path / "run"
    done = train(write_recipe(tmp_path), make_shards(tmp_path / "made"), out, *options)
    assert done.returncode == 0, done.stderr
    assert len(log_of(out)) == 10
    kept = [read_progress(path) for path in find(out / "checkpoints")]
    lines = (out / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    measured = {row["step"]: row["metrics"]["text_accuracy"] for row in map(json.loads, lines)}
    assert list(measured) == [3, 6, 9, 10]
    best = max(measured, key=lambda step: (measured[step], step))
    assert {one.step for one in kept} == {best, 10}
