"""Ray tasks: the bytes of a local build, and the faults of one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stamp_data.build.jobs import Job, run_job
from stamp_data.build.receipt import Workplace
from stamp_data.executors.ray import RayExecutor
from stamp_schemas import StampError, UsageFault

from ..raw import FAST, build, plain_set, tree

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    made = RayExecutor(2)  # takes seven seconds
    yield made
    made.close()


@needs_ray
def test_gives_the_bytes_of_a_local_build(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain_set(tmp_path / "data", 12, refused=3)
    job = Job(("refcoco",), Path("data"), Path("ray"), **{**FAST, "shard_records": 2})
    list(run_job(job, executor, lambda *_: None))
    build(Path("data"), Path("local"), shard_records=2)
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")


@needs_ray
def test_fault_of_a_task_is_what_it_was(executor: RayExecutor, tmp_path: Path) -> None:
    place = Workplace((tmp_path,), tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError) as missing:
        list(executor.run([tmp_path / "gone.task"], place))
    assert missing.value.filename == str(tmp_path / "gone.task")


@needs_ray
def test_worker_that_dies_is_one_line(executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    import ray

    monkeypatch.setattr(executor, "_task", ray.remote(max_retries=0)(lambda *_: os._exit(1)))
    with pytest.raises(StampError) as caught:
        list(executor.run([tmp_path / "any.task"], Workplace((tmp_path,), tmp_path, tmp_path)))
    assert caught.value.message.startswith("a Ray worker was lost")
    assert "\n" not in str(caught.value)


def test_without_ray_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageFault, match=r"pip install .*\[ray\]"):
        RayExecutor(1)
