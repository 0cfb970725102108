"""Being asked to stop: a checkpoint after the step, and from there the bits of a run that nobody stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from stamp_train.launch import STARTED, is_first, is_worker, restarted
from stamp_train.launch.signals import ASKING, ONE_PRESS, Stopped, StopRequest
from stamp_train.recipes import Resolved, resolve
from stamp_train.train.folder import find
from stamp_train.train.panel import Watched

from ..runs import log_of, run, write_recipe


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """A run makes kernels deterministic for its process; the tests of other modules should not notice."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def recipe(shards: Path, tmp_path: Path) -> Resolved:
    changes = [f"data.root={shards}", "evaluation.sets=[]", "saving.every=100"]
    return resolve(str(write_recipe(tmp_path)), changes)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 3), (signal.SIGUSR1, 6), (signal.SIGINT, 4)])
def test_a_run_that_was_stopped_goes_on_in_the_same_bits(
    number: signal.Signals, step: int, recipe: Resolved, tmp_path: Path
) -> None:
    """In the middle of a stage, and at its end."""

    def ask(watched: Watched) -> None:
        if watched.row.step == step:
            os.kill(os.getpid(), number)

    out = tmp_path / "run"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    before = [signal.getsignal(known) for known in ASKING]
    with pytest.raises(Stopped, match=f"after step {step}") as stopped:
        run(recipe, out, watch=ask)
    assert stopped.value.by_hand == (number == signal.SIGINT)
    assert [signal.getsignal(known) for known in ASKING] == before
    (start,) = find(out / "checkpoints")
    assert start.name == f"step-{step:06d}"
    assert not (out / "final").exists()
    run(recipe, out, start)
    run(recipe, tmp_path / "whole")
    assert log_of(out) == log_of(tmp_path / "whole")
    files = [(folder / "final" / "model.safetensors").read_bytes() for folder in (out, tmp_path / "whole")]
    assert files[0] == files[1]


def test_a_second_ctrl_c_waits_for_nothing(recipe: Resolved, tmp_path: Path) -> None:
    """Not even for the checkpoint that is being written; a second signal of the same key press is none."""
    told: list[str] = []

    def press(watched: Watched) -> None:
        if watched.row.step == 3:
            for pause in (0.0, 1.5 * ONE_PRESS):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(pause)
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "run", watch=press, pressed=lambda: told.append("pressed"))
    assert told == ["pressed"]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_run_that_is_done_anyway_is_finished(recipe: Resolved, tmp_path: Path) -> None:
    def stop(watched: Watched) -> None:
        if watched.row.step == 10:
            os.kill(os.getpid(), signal.SIGTERM)

    run(recipe, tmp_path / "run", watch=stop)
    assert (tmp_path / "run" / "final" / "model.safetensors").exists()


def test_a_request_is_heard_only_while_somebody_listens() -> None:
    with StopRequest(Accelerator(cpu=True)) as stop:
        assert stop.agreed() == (False, False)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.agreed() == (True, False)
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_process_of_several_is_not_ended_before_it_has_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """When one is gone the launcher ends the others, which have just noticed."""
    monkeypatch.setenv(STARTED, "0")
    try:
        with StopRequest(Accelerator(cpu=True)):
            pass
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number in ASKING:
            signal.signal(number, signal.SIG_DFL)


def test_a_process_knows_how_it_was_started() -> None:
    assert not is_worker({}) and is_worker({"LOCAL_RANK": "0"})
    assert is_first({}) and is_first({"RANK": "0"}) and not is_first({"RANK": "1"})
    assert not restarted({}) and not restarted({"TORCHELASTIC_RESTART_COUNT": "0"})
    assert restarted({"TORCHELASTIC_RESTART_COUNT": "1"}) and restarted({"SLURM_RESTART_COUNT": "2"})
