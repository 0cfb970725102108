"""Builds that are killed, interrupted or lose a worker: nobody is left behind, and going on gives the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from .raw import FAST_OPTIONS, Running, build, one_line, session_members, tree

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")

IMAGES, RECORDS = 160, 8
KILLS = 16


def start(root: Path, out: Path, workers: int = 2, *more: object) -> Running:
    call = ("build", "refcoco", "-r", root, "-o", out, *FAST_OPTIONS, "--shard-records", RECORDS)
    return Running(*call, "--workers", workers, *more)


def finish(root: Path, out: Path) -> None:
    code, said = start(root, out).finish()
    assert code == 0, said


@pytest.mark.parametrize("victim", ["group", "parent"])
def test_killed_again_and_again_it_still_ends_in_the_same_bytes(
    victim: str, root: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Kills at random moments of planning, building and sealing, each run going on from what the last one left."""
    out, chance, kills = tmp_path / "out", random.Random(victim), 0
    while kills < KILLS // 2:
        running = start(root, out)
        running.wait_for("planning")
        time.sleep(chance.uniform(0, 0.25))
        if running.process.poll() is None:
            kills += 1
            if victim == "group":
                os.killpg(running.pid, signal.SIGKILL)
            else:
                running.process.kill()
        running.finish()
        assert running.left_over() == []
        if (out / "refcoco-unc/train/manifest.json").exists() and kills < KILLS // 2:
            finish(root, out)  # it was sealed, and perhaps killed while it cleaned up
            assert tree(out) == undisturbed
            shutil.rmtree(out)
    finish(root, out)
    assert tree(out) == undisturbed


def test_killed_while_it_overwrites(root: Path, tmp_path: Path) -> None:
    """A finished set is taken apart, built otherwise and sealed again; it may die anywhere on the way."""
    out, chance = tmp_path / "out", random.Random("overwrite")
    finish(root, out)
    for _ in range(4):
        running = start(root, out, 2, "--seed", 1, "--overwrite")
        running.wait_for("reading annotations")
        time.sleep(chance.uniform(0, 0.3))
        os.killpg(running.pid, signal.SIGKILL)
        running.finish()
    code, said = start(root, out, 2, "--seed", 1, "--overwrite").finish()
    assert code == 0, said
    build(root, tmp_path / "fresh", shard_records=RECORDS, seed=1)
    assert tree(out) == tree(tmp_path / "fresh")


def test_killed_just_after_sealing(root: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """The work folder of a build is still there beside the manifest: it goes, and nothing else changes."""
    out = tmp_path / "out"
    work = out / "refcoco-unc/train/.build"
    for _ in range(20):  # now and then it is done before it can be killed
        shutil.rmtree(out, ignore_errors=True)
        running = start(root, out, workers=1)
        while not list(work.glob("*.receipt")) and running.process.poll() is None:
            pass
        if running.process.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.finish()
        if list(work.glob("*.receipt")):
            break
    shutil.copytree(work, tmp_path / "work")
    finish(root, out)
    shutil.copytree(tmp_path / "work", work)
    (work.parent / ".lock").touch()
    finish(root, out)
    assert tree(out) == undisturbed


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_it_says_how_to_go_on(
    workers: int, root: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Ctrl-C reaches every process of the group, as it does from a terminal."""
    out = tmp_path / "out"
    running = start(root, out, workers)
    running.wait_for("building")
    os.killpg(running.pid, signal.SIGINT)
    code, said = running.finish()
    assert code == 130
    assert "same command goes on" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert running.left_over() == []
    assert not list(out.rglob("*.part"))
    finish(root, out)
    assert tree(out) == undisturbed


@pytest.mark.parametrize("seed", range(6))
def test_interrupted_at_any_moment_it_ends_without_a_traceback(seed: int, root: Path, tmp_path: Path) -> None:
    running = start(root, tmp_path / "out")
    running.wait_for("reading annotations")  # before that, it is Python that is starting
    time.sleep(random.Random(seed).uniform(0, 0.4))
    os.killpg(running.pid, signal.SIGINT)
    code, said = running.finish()
    assert "Traceback" not in said, said
    assert "Error" not in said, said
    done = (tmp_path / "out/refcoco-unc/train/manifest.json").exists()
    assert code == 130 or (done and code in (0, -signal.SIGINT))  # the latter: Python had put its handler away already
    assert running.left_over() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_while_it_draws_it_ends_without_a_traceback(workers: int, tmp_path: Path) -> None:
    running = Running("synth", tmp_path / "out", "--images", 4000, "--size", "64x64", "--workers", workers)
    running.wait_for("rendering")
    os.killpg(running.pid, signal.SIGINT)
    code, said = running.finish()
    assert code == 130
    assert said.splitlines()[-1].startswith("stopped; ")
    assert "Traceback" not in said
    assert running.left_over() == []


def test_interrupted_twice_it_ends_all_the_same(root: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = start(root, out)
    running.wait_for("building")
    for _ in range(3):
        os.killpg(running.pid, signal.SIGINT)
        time.sleep(0.002)
    code, said = running.finish()
    assert code == 130
    assert "Traceback" not in said, said
    assert running.left_over() == []
    finish(root, out)
    assert tree(out) == undisturbed


@pytest.mark.parametrize("whole_group", [False, True])
def test_terminated_it_leaves_nobody_behind(
    whole_group: bool, root: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """SIGTERM, as batch systems send it, to the process or to all of its group."""
    out = tmp_path / "out"
    running = start(root, out)
    running.wait_for("building")
    (os.killpg if whole_group else os.kill)(running.pid, signal.SIGTERM)
    code, said = running.finish()
    assert code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert "Traceback" not in said, said
    assert running.left_over() == []
    assert not list(out.rglob("manifest.json"))
    finish(root, out)
    assert tree(out) == undisturbed


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.03, 0.05])
def test_worker_that_is_killed_is_one_line(
    moment: float, root: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """As the kernel kills the largest process when memory runs out."""
    out = tmp_path / "out"
    running = start(root, out)
    running.wait_for("building")
    time.sleep(moment)
    workers = sorted(set(session_members(running.pid)) - {running.pid})
    assert workers
    os.kill(workers[-1], signal.SIGKILL)  # workers are started last, so they have the highest ids
    code, said = running.finish()
    if code == 0:  # all shards were done
        assert tree(out) == undisturbed
        return
    assert code == 1
    assert "a worker process died" in one_line(said)
    assert running.left_over() == []
    finish(root, out)
    assert tree(out) == undisturbed


def test_output_that_nobody_reads_any_more_does_not_hurt(
    root: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """`stamp-data build … 2>&1 | head -1`."""
    running = start(root, tmp_path / "out")
    running.wait_for("planning")
    assert running.process.stderr is not None
    running.process.stderr.close()
    running.process.wait(timeout=60)
    assert running.left_over() == []
    finish(root, tmp_path / "out")
    assert tree(tmp_path / "out") == undisturbed


@pytest.mark.skipif(sys.platform != "linux", reason="SIGSTOP of a group")
def test_paused_and_continued_it_goes_on(root: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """Ctrl-Z and `fg`."""
    running = start(root, tmp_path / "out")
    running.wait_for("building")
    os.killpg(running.pid, signal.SIGSTOP)
    time.sleep(0.05)
    os.killpg(running.pid, signal.SIGCONT)
    assert running.finish()[0] == 0
    assert tree(tmp_path / "out") == undisturbed
