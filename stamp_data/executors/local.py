"""Tasks on processes of this machine."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from queue import SimpleQueue

from stamp_data.build.receipt import Receipt, Workplace
from stamp_data.executors import Executor, T
from stamp_schemas import StampError


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_LOST = (BrokenProcessPool, ConnectionError, EOFError)  # the last two: of the server that starts the workers


class LocalExecutor(Executor):
    """A pool of worker processes; with one worker, this process itself does the work.

    The pool is started at once, so that the workers' imports run while the build is being planned.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers are the parallelism
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(
                ["stamp_data.build.task", "stamp_data.build.seal", "stamp_data.shards.index"]
            )
            self._pool = ProcessPoolExecutor(workers, context, initializer=start_worker)
            threading.Thread(target=self._warm_up, args=(self._pool,), daemon=True).start()

    def _warm_up(self, pool: ProcessPoolExecutor) -> None:
        resource_tracker.ensure_running()  # it unblocks signals when it starts, so it has to come first
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what this thread starts is spared Ctrl-C from birth
        with contextlib.suppress(*_LOST, RuntimeError):  # the pool may be closed before it was ever needed
            for _ in range(self.workers):
                pool.submit(os.getpid)

    def run(self, tasks: Iterable[Path], place: Workplace) -> Iterator[Receipt]:
        return self.each(_run, ((task, place) for task in tasks))

    def each(self, function: Callable[..., T], calls: Iterable[tuple[object, ...]]) -> Iterator[T]:
        """`function(*call)` of every call, in the order in which they are done."""
        if self._pool is None:
            for call in calls:
                yield function(*call)
            return
        waiting, done = iter(calls), SimpleQueue[Future[T]]()
        running: set[Future[T]] = set()
        with _ended(running):
            while True:
                for call in islice(waiting, 2 * self.workers - len(running)):
                    with _whole():
                        running.add(future := self._pool.submit(function, *call))
                        future.add_done_callback(done.put)
                if not running:
                    return
                # Written in C: a Ctrl-C in `wait` may leave a lock taken, for which the pool's thread then waits for ever.
                future = done.get()
                running.remove(future)
                yield future.result()

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        return next(iter(self.each(function, [arguments])))

    def close(self) -> None:
        if self._pool is not None:
            # A second Ctrl-C changes nothing while the workers end, which takes no longer than a shard.
            with _interrupted(signal.SIG_IGN):
                self._pool.shutdown(wait=True, cancel_futures=True)


def _run(task: Path, place: Workplace) -> Receipt:
    from stamp_data.build.task import run_task  # all that renders: this process starts sooner without it

    return run_task(task, place)


@contextmanager
def _ended(running: set[Future[T]]) -> Iterator[None]:
    """The loss of a worker is told in one line, and what is in `running` has ended when the block has."""
    try:
        yield
    except _LOST:
        raise StampError(
            "a worker process died (killed, or out of memory)",
            "run the same command again to go on; fewer --workers need less memory",
        ) from None
    finally:  # also where the caller gives up: it goes on to unlock the folder, so nobody may be at work in it
        with _interrupted(signal.SIG_IGN):
            for future in running:
                future.cancel()
            wait(running)


@contextmanager
def _whole() -> Iterator[None]:
    """A Ctrl-C is heard after the block, not where the pool has taken a lock and not yet come to what gives it back."""
    pressed: list[int] = []
    try:
        with _interrupted(lambda number, _: pressed.append(number)):
            yield
    finally:
        if pressed:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _interrupted(heard: Callable[[int, object], object] | signal.Handlers) -> Iterator[None]:
    """What a Ctrl-C does in the block; it reaches the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start_worker() -> None:
    """Ctrl-C is the parent's business; a parent that is gone, however it went, ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # rendering leaves no cycles behind, and looking for them costs 8% of its time
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
