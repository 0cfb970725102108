"""Running tasks on the processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stamp_data.build.plan import TaskHead, plan_tasks
from stamp_data.build.receipt import Workplace
from stamp_data.executors.local import LocalExecutor
from stamp_data.shards.rejects import RejectLog
from stamp_schemas import Settings, StampError

from ..making import assorted, tree


@pytest.fixture
def planned(tmp_path: Path) -> tuple[list[TaskHead], Workplace]:
    """Six tasks and a place to run them."""
    source = assorted(tmp_path / "data", 12)
    work, out = tmp_path / "work", tmp_path / "out"
    work.mkdir()
    out.mkdir()
    settings = Settings("tiny", "", "train", min_tokens=4, max_tokens=16, shard_records=2)
    return plan_tasks(source, settings, RejectLog(), work), Workplace((source.root,), out, work)


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_every_task_gives_its_receipt_once(workers: int, planned: tuple[list[TaskHead], Workplace]) -> None:
    heads, place = planned
    executor = LocalExecutor(workers)
    receipts = list(executor.run([head.path for head in heads], place))
    executor.close()
    assert sorted(receipt.entry.task for receipt in receipts) == sorted(head.digest for head in heads)
    assert sorted(path.name for path in place.out.iterdir()) == [head.shard for head in heads]


@pytest.mark.parametrize("workers", [1, 2])
def test_running_again_gives_the_same_bytes(workers: int, planned: tuple[list[TaskHead], Workplace]) -> None:
    heads, place = planned
    executor = LocalExecutor(workers)
    contents = []
    for _ in range(2):
        list(executor.run([head.path for head in heads], place))
        contents.append(tree(place.out))
    executor.close()
    assert contents[0] == contents[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_fault_of_a_task_keeps_what_it_says(workers: int, planned: tuple[list[TaskHead], Workplace]) -> None:
    heads, place = planned
    executor = LocalExecutor(workers)
    gone = place.work / "gone.task"
    with pytest.raises(FileNotFoundError) as missing:
        list(executor.run([heads[0].path, gone], place))
    assert missing.value.filename == str(gone)
    nowhere = Workplace(place.roots, place.out, place.work, place.out / "no tokenizer")
    with pytest.raises(StampError) as fault:
        list(executor.run([heads[0].path], nowhere))
    assert "no tokenizer" in fault.value.message
    assert len(list(executor.run([head.path for head in heads], place))) == len(heads), "the pool is still good"
    executor.close()
    assert not list(place.out.glob("*.part"))


def test_caller_that_gives_up_leaves_nobody_at_work(planned: tuple[list[TaskHead], Workplace]) -> None:
    """The caller unlocks the folder next: a worker that still wrote there could meet another build."""
    heads, place = planned
    executor = LocalExecutor(2)
    receipts = executor.run([head.path for head in heads], place)
    next(receipts)
    receipts.close()  # type: ignore[attr-defined]  # a generator, as every iterator with a `finally`
    before = tree(place.out)
    time.sleep(0.2)
    assert tree(place.out) == before
    assert not any(name.endswith(".part") for name in before)
    executor.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_call_gives_what_the_function_gives(workers: int, tmp_path: Path) -> None:
    executor = LocalExecutor(workers)
    assert executor.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(FileNotFoundError) as missing:
        executor.call(Path.read_bytes, tmp_path / "gone")
    assert missing.value.filename == str(tmp_path / "gone")
    executor.close()


def test_worker_that_dies_in_a_call_is_one_line() -> None:
    executor = LocalExecutor(2)
    with pytest.raises(StampError, match="a worker process died"):
        executor.call(os._exit, 1)
    executor.close()


def test_no_tasks_no_receipts(planned: tuple[list[TaskHead], Workplace]) -> None:
    executor = LocalExecutor(2)
    assert list(executor.run([], planned[1])) == []
    executor.close()
    executor.close()


def test_closing_an_unused_pool_says_nothing() -> None:
    """As after a mistyped dataset: the workers are started at once, and the call ends before they are."""
    program = (
        "from stamp_data.executors.local import LocalExecutor\nif __name__ == '__main__': LocalExecutor(4).close()"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_works_outside_of_the_main_thread(planned: tuple[list[TaskHead], Workplace]) -> None:
    """Where signals cannot be set: a notebook, a server."""
    heads, place = planned
    found: list[int] = []

    def work() -> None:
        executor = LocalExecutor(2)
        found.append(len(list(executor.run([head.path for head in heads], place))))
        executor.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found == [len(heads)]


PRESSED = """
import faulthandler, os, signal, sys
from stamp_data.executors.local import LocalExecutor

LOCKS = ("threading.py", "queue.py", os.path.join("futures", "_base.py"), os.path.join("futures", "process.py"))

def press(moment):
    passed = 0
    def told(frame, event, argument):
        nonlocal passed
        if event == "return" and frame.f_code.co_filename.endswith(LOCKS):
            passed += 1
            if passed == moment:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)
    return told

if __name__ == "__main__":
    for moment in range(1, 25):
        faulthandler.dump_traceback_later(20, exit=True)
        executor, heard = LocalExecutor(2), 0
        try:
            sys.setprofile(press(moment))
            for _ in executor.each(abs, ((number,) for number in range(8))):
                pass
        except KeyboardInterrupt:
            heard += 1
        finally:
            sys.setprofile(None)
            executor.close()
            print(heard, flush=True)
"""


def test_ctrl_c_where_the_pool_has_just_taken_a_lock_ends_it_all_the_same(tmp_path: Path) -> None:
    """Once it left the lock taken, the pool's own thread waited for it, and the process for that thread, for ever."""
    script = tmp_path / "pressed.py"
    script.write_text(PRESSED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"] * 24
