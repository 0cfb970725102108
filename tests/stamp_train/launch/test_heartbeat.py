"""A process that hangs is named by the others, wherever it hangs; one that is only busy, or stopped with all others, is not."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from stamp_train.launch import heartbeat
from stamp_train.launch.heartbeat import Overview, Post

from ...warm import warm
from ..runs import TIMEOUT, log_of, write_recipe

PATIENCE = 6.0

# --- what a process makes of the others' posts ------------------------------------------------------------------------


def overview(now: float, *beats: int, heard: tuple[int, ...] | None = None) -> dict[int, str]:
    """What rank 0 of four finds at a time: each posts every second, or until `heard`; the last one holds `beats` after 5 s."""
    found = Overview(0, len(beats), 10.0, 0.0)
    for second in range(1, int(now) + 1):
        for rank, count in enumerate(beats):
            if heard is None or second <= heard[rank]:
                found.note(rank, Post(second, min(second, count), 0, "here"), float(second))
    return found.hung(now)


def test_processes_in_step_are_fine_however_long_a_step_takes() -> None:
    assert overview(500, 7, 7, 7, 7) == {}
    assert overview(12, 7, 7, 5, 7) == {}


def test_the_one_that_is_behind_is_named_and_so_is_one_that_is_not_heard_of() -> None:
    assert overview(16, 7, 7, 5, 7) == {2: "the others wait for it, since 11 s"}
    assert overview(16, 7, 7, 5, 5).keys() == {2, 3}
    silent = overview(16, 99, 99, 99, 99, heard=(99, 99, 99, 5))
    assert silent == {3: "nothing was heard of it for 11 s"}


def test_if_nobody_is_heard_of_it_is_the_process_that_holds_the_store() -> None:
    assert overview(16, 99, 99, 99, 99, heard=(5, 5, 5, 5)) == {0: "nothing was heard of it for 11 s"}


def test_a_process_at_work_that_may_take_long_is_waited_for() -> None:
    found = Overview(1, 2, 10.0, 0.0)
    for second in range(100):
        found.note(0, Post(second, 3, second, "here"), float(second))
        found.note(1, Post(second, 4, 0, "here"), float(second))
    assert found.hung(99.0) == {}


def test_who_was_stopped_himself_begins_to_count_anew() -> None:
    found = Overview(0, 2, 10.0, 0.0)
    assert found.hung(50.0)
    found.forgive(50.0)
    assert found.hung(59.0) == {}


@pytest.mark.parametrize("stopped", [0, 1])
def test_who_is_behind_one_that_has_stopped_is_not_named(stopped: int) -> None:
    """The other waits for it, and is a place behind; it must not take itself for what hangs."""
    seen = Overview(rank=1 - stopped, world=2, patience=4, now=0)
    seen.note(stopped, Post(1, 5, 0, "there"), 1)
    seen.note(1 - stopped, Post(1, 4, 0, "here"), 1)
    for second in (*range(2, 9), 9):
        if stopped == 1:  # the store answers as long as the process that holds it lives
            seen.note(0, Post(second, 4, 0, "here"), second)
        assert set(seen.hung(second)) == ({stopped} if second > 5 else set())


# --- real processes ---------------------------------------------------------------------------------------------------

# Of one of the processes: reads a batch for ever, once it has taken three steps. Its threads live on.
SLEEPY = """
import os, sys, time
from stamp_train.train.loop import Run
step = Run._step
def slow(self, *given):
    if self.progress.step == 3:
        time.sleep(1000)
    return step(self, *given)
if os.environ["RANK"] == os.environ["ASLEEP"]:
    Run._step = slow
from stamp_cli.train import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hangs", "asleep"),
    [(1, False), (0, False), (1, True)],
    ids=["stopped", "the one that holds the store is stopped", "its main thread waits between two collectives"],
)
def test_the_other_process_names_the_one_that_hangs(hangs: int, asleep: bool, shards: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "run", tmp_path / "sleepy.py"
    script.write_text(SLEEPY, encoding="utf-8")
    settings = (
        f"data.root={shards}",
        f"patience={PATIENCE:g}",
        "evaluation.sets=[]",
        "stages.0.steps=100000",
        "saving.every=2",
    )
    changes = [word for setting in settings for word in ("--set", setting)]
    environment = {**os.environ, "ASLEEP": str(hangs if asleep else "none")}
    arguments = ("run", write_recipe(tmp_path), *changes, "--out", out, "--processes", 1)
    running = warm.start("python", script, *arguments, processes=2, environment=environment)
    until = time.monotonic() + TIMEOUT
    while not (out / "log.jsonl").exists() or len(log_of(out)) < 3:
        assert not running.ended and time.monotonic() < until, running.wait(1)
        time.sleep(0.01)
    began, bad = time.monotonic(), running.pids[hangs]
    if not asleep:
        os.kill(bad, signal.SIGSTOP)
    good = running.wait(TIMEOUT)  # the first to end; whoever is left is killed then
    said, seconds = good.stderr, time.monotonic() - began
    assert good.returncode == 1, said
    assert PATIENCE - 1 < seconds < 30
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    why = "the others wait for it, since" if asleep else "nothing was heard of it for"
    assert line.startswith(f"error: process {hangs} of the run (pid {bad} on {socket.gethostname()}) hangs: {why} ")
    assert "Traceback" not in said


def test_the_patience_of_a_recipe_is_ten_minutes(tmp_path: Path) -> None:
    from stamp_train.recipes import resolve

    assert resolve(str(write_recipe(tmp_path))).recipe.patience == 600


def test_no_thread_is_left_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter may end right after: a thread that comes back from C++ then ends the process ("terminate called")."""
    inside = threading.Event()

    class Slow:
        def set(self, *_: str) -> None:
            inside.set()
            time.sleep(0.5)

        def multi_get(self, keys: list[str]) -> list[bytes]:
            return [b"0 0 0 pid 1 on here" for _ in keys]

    monkeypatch.setattr(heartbeat, "_open_store", lambda _: Slow())
    before = threading.active_count()
    with heartbeat.Heartbeat(SimpleNamespace(process_index=0, num_processes=2), 1.0, print):  # type: ignore[arg-type]
        assert inside.wait(10)
    assert threading.active_count() == before
