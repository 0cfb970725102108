"""Array jobs: the bytes of a local build, whatever is killed; one line where nothing helps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.slurm import Slurm, SlurmExecutor, parse_slurm
from stamp_schemas import StampError, UsageFault

from ..raw import FAST, build, plain_set, tree
from .conftest import FakeSlurm

QUICK = Slurm(poll=0.1, settle=0.2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plain_set(tmp_path / "my 'data' 100%", 12, refused=3)


def build_on_slurm(root: Path, out: Path, workers: int | None = None, slurm: Slurm = QUICK) -> dict[str, bytes]:
    executor = SlurmExecutor(workers, slurm)
    try:
        list(run_job(Job(("refcoco",), root, out, **{**FAST, "shard_records": 2}), executor, lambda *_: None))
    finally:
        executor.close()
    return tree(out)


def local(root: Path, out: Path) -> dict[str, bytes]:
    build(root, out, shard_records=2)
    return tree(out)


@pytest.mark.parametrize("workers", [None, 2])
def test_gives_the_bytes_of_a_local_build(workers: int | None, slurm: FakeSlurm, root: Path, tmp_path: Path) -> None:
    made = build_on_slurm(
        root, tmp_path / "50% of 'it'", workers, Slurm(poll=0.1, options=("--partition=cpu",), cpus=2)
    )
    assert made == local(root, tmp_path / "local")
    (call,) = slurm.calls()
    assert f"--array=0-{(workers or 6) - 1}" in call
    assert {"--partition=cpu", "--cpus-per-task=2"} <= set(call)


def test_relative_folders(slurm: FakeSlurm, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert build_on_slurm(Path(root.name), Path("out"), 1) == local(root, tmp_path / "local")
    assert len(slurm.calls()) == 1


def test_only_what_a_killed_element_left_is_submitted_again(slurm: FakeSlurm, root: Path, tmp_path: Path) -> None:
    (slurm.bin / "kill-1").touch()
    out = tmp_path / "out"
    made = build_on_slurm(root, out, slurm=Slurm(poll=0.1, settle=0.2, array_size=4))
    assert made == local(root, tmp_path / "local")
    assert [call[2] for call in slurm.calls()] == ["--job-name=" + slurm.calls()[0][2].partition("=")[2]] * 2
    assert [word for call in slurm.calls() for word in call if "array" in word] == ["--array=0-3", "--array=0-1"]


def test_task_that_always_fails_is_named_with_its_log(slurm: FakeSlurm, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "refcoco-unc" / "train" / "shard-000003.tar").mkdir(parents=True)  # a shard cannot be renamed to it
    with pytest.raises(StampError) as caught:
        build_on_slurm(root, out, workers=2)
    log = out / "refcoco-unc" / "train" / ".build" / "slurm" / "try-2" / "0.log"
    assert log.exists()
    assert caught.value.message.startswith(f"shard-000003.tar was not made in 3 tries, see {log}: ")
    assert "Is a directory" in caught.value.message
    assert "\n" not in str(caught.value)
    (out / "refcoco-unc" / "train" / "shard-000003.tar").rmdir()
    assert build_on_slurm(root, out) == local(root, tmp_path / "local")
    assert [word for word in slurm.calls()[-1] if "array" in word] == ["--array=0-0"], "the others were kept"


def test_refusal_of_sbatch_is_passed_on(slurm: FakeSlurm, root: Path, tmp_path: Path) -> None:
    (slurm.bin / "refuse").touch()
    with pytest.raises(StampError, match=r"sbatch failed: .*invalid partition specified: nowhere"):
        build_on_slurm(root, tmp_path / "out")


def test_interrupt_cancels_the_array_and_the_next_build_goes_on(slurm: FakeSlurm, root: Path, tmp_path: Path) -> None:
    (slurm.bin / "hang").touch()
    options = [
        "--root",
        str(root),
        "--out",
        str(tmp_path / "out"),
        "--executor",
        "slurm",
        "--slurm",
        "poll=0.1 settle=0",
    ]
    command = [sys.executable, "-c", "from stamp_cli.data import main; main()", "build", "refcoco", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as building:
        until = time.monotonic() + 30
        while not (slurm.bin / "queue").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.5)
        building.send_signal(signal.SIGINT)
        _, said = building.communicate(timeout=30)
    assert building.returncode == 130
    assert "stopped; the same command goes on from here" in said
    assert "Traceback" not in said
    assert (slurm.bin / "cancelled").exists()
    pids = [int(line.split()[0]) for line in (slurm.bin / "queue").read_text(encoding="utf-8").splitlines()]
    assert not any(Path(f"/proc/{pid}").exists() and _running(pid) for pid in pids)
    (slurm.bin / "hang").unlink()
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def _running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def test_array_of_a_killed_build_is_ended_by_the_next(slurm: FakeSlurm, root: Path, tmp_path: Path) -> None:
    (slurm.bin / "hang").touch()
    pid = os.fork()
    if pid == 0:
        build_on_slurm(root, tmp_path / "out")
        os._exit(0)
    until = time.monotonic() + 30
    while not (slurm.bin / "queue").exists() and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    (slurm.bin / "hang").unlink()
    assert build_on_slurm(root, tmp_path / "out") == local(root, tmp_path / "local")
    assert (slurm.bin / "cancelled").exists()


def test_without_sbatch_one_line(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from stamp_cli.data import main; main()", "build", "refcoco", "--root", str(root)]
    command += ["--out", str(tmp_path / "out"), "--executor", "slurm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 2
    assert done.stderr.startswith("error: --executor slurm needs sbatch")
    assert "Traceback" not in done.stderr


def test_options_as_users_write_them() -> None:
    assert parse_slurm("") == Slurm()
    assert parse_slurm("partition=cpu -t=02:00:00 --exclusive cpus=4 array-size=100 'comment=two words'") == Slurm(
        options=("--partition=cpu", "--time=02:00:00", "--exclusive", "--comment=two words"), cpus=4, array_size=100
    )


@pytest.mark.parametrize("text", ["array=0-9", "cpus=many", "cpus=0", "'", "=", "tries=0"])
def test_options_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageFault, match="--slurm"):
        parse_slurm(text)
