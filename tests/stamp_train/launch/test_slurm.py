"""Batch jobs: the script that is run, preempted by real signals and requeued ends in the bits of an undisturbed run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stamp_schemas import UsageFault
from stamp_train.launch.slurm import Job, parse_options, write_script

from ..runs import TIMEOUT, log_of, write_recipe
from .conftest import FakeSlurm

WEIGHTS = "final/model.safetensors"


def submit(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stamp_cli.train", "run", *map(str, arguments), "--launcher", "slurm"]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=cwd)


def wait_for_rows(out: Path, count: int) -> None:
    until = time.monotonic() + TIMEOUT
    while not (out / "log.jsonl").exists() or len(log_of(out)) < count:
        assert time.monotonic() < until, [log.read_text(encoding="utf-8") for log in (out / "slurm").glob("*.log")]
        time.sleep(0.005)


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_ends_in_the_same_bits(
    slurm: FakeSlurm, shards: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Two nodes of one process each; Slurm signals the task of every node, which is not the process that trains."""
    out = tmp_path / "50% of a run"
    recipe = write_recipe(tmp_path)
    asked = ("--set", f"data.root={shards}", "--out", out.name, "--nodes", 2, "--processes", 1, "--time", "1:00:00")
    done = submit(recipe.name, *asked, "--set", "saving.every=100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4711\n"
    wait_for_rows(out, 2)
    for task in slurm.tasks():
        os.kill(task, signal.SIGUSR1)
    ended = slurm.wait()
    said = (out / "slurm" / "4711.log").read_text(encoding="utf-8")
    assert ended == {"code": 0, "restarts": 1}, said
    stopped = re.search(r"stopped as asked after step (\d+); --resume auto goes on from (\S.*)", said)
    assert stopped and stopped[1] not in ("6", "10"), "there are checkpoints anyway where stages end"
    assert f"2 processes (cpu), from {stopped[2]}" in said
    assert "Traceback" not in said and "error" not in said
    assert log_of(out) == log_of(undisturbed)
    assert (out / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()


def test_the_script_asks_for_what_was_said_and_passes_the_training_on(tmp_path: Path) -> None:
    options = parse_options(["cpus-per-task=64", "--exclusive", "comment=two words", "signal=USR1@600"])
    job = Job(nodes=(2, 4), gpus=8, restarts=1, time="12:00:00", partition="gpu", account="me", options=options)
    script = write_script(["run", "stamp-2b", "--out", "a b", "--resume", "auto"], job, tmp_path / "a 100% run")
    lines = [shlex.split(line)[1] for line in script.splitlines() if line.startswith("#SBATCH")]
    asked = dict(line.removeprefix("--").partition("=")[::2] for line in lines)
    assert asked == {
        "job-name": "stamp-a 100% run",
        "nodes": "2-4",
        "ntasks-per-node": "1",
        "gpus-per-node": "8",
        "time": "12:00:00",
        "partition": "gpu",
        "account": "me",
        "chdir": str(Path.cwd()),
        "output": f"{tmp_path}/a 100%% run/slurm/%j.log",
        "open-mode": "append",
        "requeue": "",
        "signal": "USR1@600",
        "cpus-per-task": "64",
        "exclusive": "",
        "comment": "two words",
    }
    command = shlex.split(script[script.index("srun") : script.index("code=")].replace("\\\n", ""))
    assert command[command.index("run") :] == [
        *("run", "stamp-2b", "--out", "a b", "--resume", "auto", "--launcher", "torchrun"),
        *("--nodes", "$SLURM_JOB_NUM_NODES", "--rendezvous", "$head:$port", "--processes", "8", "--max-restarts", "1"),
    ]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "asked"),
    [((), "24"), (("cpus-per-task=64",), "64"), (("exclusive",), None), (("cpus-per-gpu=12",), None)],
)
def test_a_job_has_cores_for_its_processes(options: tuple[str, ...], asked: str | None, tmp_path: Path) -> None:
    """Eight processes keep a core each busy, and two that read ahead; but for sites that count otherwise."""
    job = Job(gpus=8, cores=3, options=parse_options(options))
    lines = write_script(["run", "stamp-2b"], job, tmp_path).splitlines()
    found = [line.partition("=")[2] for line in lines if line.startswith("#SBATCH --cpus-per-task")]
    assert found == ([asked] if asked else [])


def test_the_command_asks_for_the_cores_of_its_recipe(tmp_path: Path) -> None:
    asked = ("tiny", "--set", "data.threads=3", "--gpus-per-node", 4, "--print-script")
    assert "#SBATCH --cpus-per-task=16\n" in submit(*asked, cwd=tmp_path).stdout


@pytest.mark.parametrize("word", ["nodes=3", "--array=0-3", "=x", "comment=a\nb", "--time=1"])
def test_options_that_the_script_depends_on_are_refused(word: str) -> None:
    with pytest.raises(UsageFault, match="--slurm-option"):
        parse_options([word])


def test_a_refusal_of_sbatch_is_passed_on_and_a_run_is_not_begun_twice(slurm: FakeSlurm, tmp_path: Path) -> None:
    (slurm.bin / "refuse").touch()
    out = tmp_path / "run"
    asked = (write_recipe(tmp_path), "--out", out)
    done = submit(*asked)
    assert done.returncode == 1
    assert "error: sbatch failed: sbatch: error: invalid partition specified: nowhere" in done.stderr
    printed = submit(*asked, "--print-script")
    assert printed.returncode == 0
    assert printed.stdout == (out / "slurm" / "run.sh").read_text(encoding="utf-8")
    (out / "final").mkdir()
    again = submit(*asked)
    assert again.returncode == 2
    assert "--resume auto goes on with it" in again.stderr


def test_without_slurm_it_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = submit(write_recipe(tmp_path), "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --launcher slurm needs sbatch")
    assert not (tmp_path / "run").exists()
