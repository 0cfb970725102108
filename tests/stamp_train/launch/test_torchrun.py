"""Processes on one node or many: who belongs to them, and what happens when one is signalled, killed or missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stamp_schemas import UsageFault
from stamp_train.launch.signals import ONE_PRESS
from stamp_train.launch.torchrun import Group, find_group
from stamp_train.train.folder import find

from ...warm import Running, warm
from ..runs import FORKING, TIMEOUT, begin, command, launch, log_of, train, write_recipe

LONG = ("--set", "stages.0.steps=100000", "--set", "saving.every=100000", "--set", "evaluation.sets=[]")


# --- who belongs to the group -----------------------------------------------------------------------------------------

SLURM = {"SLURM_STEP_NUM_NODES": "4", "SLURM_NODEID": "2", "MASTER_ADDR": "node1"}


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ({}, {}, Group(processes=2)),
        ({"nodes": "1"}, SLURM, Group(processes=2)),
        ({}, SLURM, Group(processes=2, least=4, most=4, rendezvous="node1:29500", node_rank=2)),
        (
            {"rendezvous": "a:1", "node_rank": 0, "nodes": "1:4", "restarts": 3},
            {**SLURM, "MASTER_PORT": "7"},
            Group(processes=2, least=1, most=4, rendezvous="a:1", node_rank=0, restarts=3),
        ),
        (
            {"nodes": "2", "rendezvous": "train-0.train"},
            {"JOB_COMPLETION_INDEX": "1"},
            Group(processes=2, least=2, most=2, rendezvous="train-0.train:29500", node_rank=1),
        ),
        (
            {"nodes": "2"},
            {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7"},
            Group(processes=2, least=2, most=2, rendezvous="10.0.0.1:7"),
        ),
    ],
)
def test_what_is_not_given_is_taken_from_the_surroundings(
    given: dict[str, object], environment: dict[str, str], expected: Group
) -> None:
    assert find_group(**given, processes=2, environment=environment) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("nodes", ["0", "two", "3:2", "1:", "-1", "1:2:3"])
def test_senseless_numbers_of_nodes_are_refused(nodes: str) -> None:
    with pytest.raises(UsageFault, match="--nodes"):
        find_group(nodes, environment={})


def test_nodes_that_do_not_know_where_to_meet_are_told_so() -> None:
    with pytest.raises(UsageFault) as fault:
        find_group("2", environment={})
    assert "--rendezvous HOST:PORT" in fault.value.hint


@pytest.mark.parametrize(
    ("options", "launcher"),
    [
        (("--nodes", "2"), "torchrun or slurm"),
        (("--rendezvous", "a:1"), "torchrun"),
        (("--node-rank", "0"), "torchrun"),
        (("--launcher", "torchrun", "--partition", "gpu"), "slurm"),
        (("--launcher", "slurm", "--node-rank", "1"), "torchrun"),
    ],
)
def test_options_of_another_launcher_are_refused(options: tuple[str, ...], launcher: str, tmp_path: Path) -> None:
    done = train(write_recipe(tmp_path), tmp_path, tmp_path / "run", *options)
    assert done.returncode == 2
    assert f"{options[-2]} is only for --launcher {launcher}\n" in done.stderr


# --- real processes ---------------------------------------------------------------------------------------------------


def workers(launcher: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text("ascii").split()]


def wait_for(ready: Callable[[], object], ended: Callable[[], object], said: Callable[[], object]) -> None:
    until = time.monotonic() + TIMEOUT
    while not ready():
        assert not ended() and time.monotonic() < until, said()
        time.sleep(0.005)


def disturb(run: Running, ready: Callable[[], object], act: Callable[[int], None]) -> tuple[int, str, float]:
    """Do something to a run once it is ready; its exit code, what it said, seconds that it still took."""
    wait_for(ready, lambda: run.ended, lambda: run.wait(1))
    began = time.monotonic()
    act(run.pids[0])
    done = run.wait(TIMEOUT)
    return done.returncode, done.stderr, time.monotonic() - began


def after(steps: int, out: Path) -> Callable[[], bool]:
    """Whether a run has logged so many."""
    return lambda: (out / "log.jsonl").exists() and len(log_of(out)) >= steps


def checkpoint_of(out: Path) -> list[str]:
    return [f"step-{len(log_of(out)):06d}"]


@pytest.mark.slow
def test_one_process_that_is_asked_to_stop_says_how_to_go_on(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = write_recipe(tmp_path), shards, out, *LONG
    code, said, _ = disturb(begin(*asked), after(2, out), lambda pid: os.kill(pid, signal.SIGTERM))
    assert code == 75
    assert [path.name for path in find(out / "checkpoints")] == checkpoint_of(out)
    assert f"stopped as asked after step {len(log_of(out))}; --resume auto goes on from {out}/checkpoints/" in said
    before = len(log_of(out))
    again = begin(*asked, "--resume", "auto")
    code, said, _ = disturb(again, after(before + 1, out), lambda pid: os.kill(pid, signal.SIGINT))
    assert code == 130
    assert said.count("stopping after this step, with a checkpoint; Ctrl-C again stops at once") == 1
    assert f"stopped as asked after step {len(log_of(out))}; --resume auto goes on from {out}/checkpoints/" in said
    assert [path.name for path in find(out / "checkpoints")][-1:] == checkpoint_of(out)
    assert "Traceback" not in said


NOTHING = "nothing was saved, since no step was done: the same command begins anew"


def press_twice(pid: int) -> None:
    """Ctrl-C at a terminal reaches the launcher alone: its processes have sessions of their own."""
    time.sleep(2 * ONE_PRESS)
    os.kill(pid, signal.SIGINT)
    time.sleep(2 * ONE_PRESS)
    os.kill(pid, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_second_ctrl_c_stops_at_once(processes: int, shards: Path, tmp_path: Path) -> None:
    """In the middle of a step that takes a minute."""
    out = tmp_path / "run"
    huge = ("--set", "batch.dialogues=20000", "--set", "batch.dialogues_per_image=1", "--set", "data.threads=0")
    start = launch if processes > 1 else begin
    run = start(write_recipe(tmp_path), shards, out, *LONG, *huge, processes=processes)
    code, said, seconds = disturb(run, lambda: " steps, " in run.told, press_twice)
    assert code == 130, said
    assert seconds < 30
    assert said.count("stopping after this step, with a checkpoint; Ctrl-C again stops at once") == 1
    assert said.splitlines()[-1] == f"stopped; {NOTHING}"
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_signal_before_the_first_step_says_that_nothing_was_saved(
    processes: int, number: signal.Signals, shards: Path, tmp_path: Path
) -> None:
    """As soon as the folder is held: the model is not there yet."""
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(write_recipe(tmp_path), shards, out, *LONG, processes=processes), stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + TIMEOUT
    while not (out / ".lock").exists() or (processes > 1 and not workers(process.pid)):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.001)
    process.send_signal(number)
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == (130 if number == signal.SIGINT else -number), said
    assert said == f"stopped; {NOTHING}\n"
    assert not (out / "log.jsonl").exists()


PRESSED = """
import os, signal, time
from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler
from stamp_cli import train

begin = subprocess_handler.Popen

def start(*arguments, **options):
    process, subprocess_handler.Popen = begin(*arguments, **options), begin
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    return process

subprocess_handler.Popen = start
train.main()
"""


@pytest.mark.slow
def test_ctrl_c_between_the_starts_of_two_processes_leaves_neither(shards: Path, tmp_path: Path) -> None:
    """A thread of the agent's may hear it in the main one's stead, which then is not where it could tell of it."""
    script = tmp_path / "pressed.py"
    script.write_text(PRESSED, encoding="utf-8")
    words = command(write_recipe(tmp_path), shards, tmp_path / "run", *LONG, processes=2)
    arguments = [sys.executable, str(script), *words[words.index("run") :]]
    done = subprocess.run(arguments, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 130
    assert done.stderr == f"stopped; {NOTHING}\n"


def processor_time(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[11:13]))


@pytest.mark.slow
def test_a_process_that_waits_for_one_that_is_gone_does_not_hold_up_the_end(shards: Path, tmp_path: Path) -> None:
    """The first waits for the second to come, in C++: it cannot hear that the run is to stop."""
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(write_recipe(tmp_path), shards, out, *LONG, processes=2), stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + TIMEOUT
    while len(workers(process.pid)) < 2:
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.001)
    first, second = workers(process.pid)
    time.sleep(0.5)  # it is what it is going to be
    os.kill(second, signal.SIGSTOP)
    before, used = -1, 0
    while used < 100 or used != before:  # hundredths of a second: until it has begun, and waits
        time.sleep(0.5)
        before, used = used, processor_time(first)
    process.send_signal(signal.SIGINT)
    os.kill(second, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said == f"stopped; {NOTHING}\n"


@pytest.mark.slow
def test_ctrl_c_of_two_processes_writes_a_checkpoint(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = launch(write_recipe(tmp_path), shards, out, *LONG)
    code, said, _ = disturb(run, after(2, out), lambda pid: os.kill(pid, signal.SIGINT))
    assert code == 130, said
    assert [path.name for path in find(out / "checkpoints")] == checkpoint_of(out)
    assert said.splitlines()[-1] == (
        f"stopped as asked after step {len(log_of(out))}; --resume auto goes on from {find(out / 'checkpoints')[0]}"
    )


@pytest.mark.slow
def test_a_signal_to_one_process_of_two_stops_both_after_the_same_step(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = launch(write_recipe(tmp_path), shards, out, *LONG)
    code, said, _ = disturb(run, after(2, out), lambda pid: os.kill(workers(pid)[-1], signal.SIGUSR1))
    assert code == 75, said
    assert [path.name for path in find(out / "checkpoints")] == checkpoint_of(out)
    assert said.count("stopped as asked") == 1
    assert "Traceback" not in said and "error" not in said


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_within_a_minute(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = launch(write_recipe(tmp_path), shards, out, *LONG)
    code, said, seconds = disturb(run, after(2, out), lambda pid: os.kill(workers(pid)[-1], signal.SIGKILL))
    assert code == 1
    assert seconds < 60
    assert "error: process 1 of the run, on " in said and "was ended by SIGKILL" in said
    assert "error: process 0: another process of the run is gone, or hangs: " in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_processes_are_started_anew_and_end_in_the_same_bits(shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = launch(write_recipe(tmp_path), shards, out, "--max-restarts", "1")
    code, said, _ = disturb(run, after(5, out), lambda pid: os.kill(workers(pid)[0], signal.SIGKILL))
    assert code == 0, said
    assert f"from {out}/checkpoints/" in said
    assert log_of(out) == log_of(undisturbed)
    weights = [(run / "final" / "model.safetensors").read_bytes() for run in (out, undisturbed)]
    assert weights[0] == weights[1]


def test_a_run_folder_that_is_taken_is_told_once(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "final").mkdir(parents=True)
    arguments = command(write_recipe(tmp_path), shards, tmp_path / "run", processes=2)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 2
    assert done.stderr.count("holds a run already") == 1


@pytest.mark.slow
def test_a_plain_torchrun_does_as_well(shards: Path, tmp_path: Path) -> None:
    """It passes SIGTERM on, and waits half a minute for a checkpoint; its own exit code is another."""
    out = tmp_path / "run"
    ours = command(write_recipe(tmp_path), shards, out, *LONG)[1:]
    run = warm.start("python", FORKING, "torch.distributed.run", "--standalone", "--nproc-per-node=2", *ours)
    code, said, _ = disturb(run, after(2, out), lambda pid: os.kill(pid, signal.SIGTERM))
    assert code != 0
    assert "stopped as asked after step" in said
    assert [path.name for path in find(out / "checkpoints")] == checkpoint_of(out)
