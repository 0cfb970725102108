"""Tasks on processes of this machine."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

from stamp_data.task import Receipt, Workplace, run_task
from stamp_schemas import StampError


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalExecutor:
    """A pool of worker processes; with one worker, this process itself does the work.

    The pool is started at once, so that the workers' imports run while the build is being planned.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers are the parallelism
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["stamp_data.task"])
            self._pool = ProcessPoolExecutor(workers, context, initializer=start_worker)
            threading.Thread(target=self._warm_up, args=(self._pool,), daemon=True).start()

    def _warm_up(self, pool: ProcessPoolExecutor) -> None:
        for _ in range(self.workers):
            pool.submit(os.getpid)

    def run(self, tasks: Iterable[Path], place: Workplace) -> Iterator[Receipt]:
        if self._pool is None:
            for task in tasks:
                yield run_task(task, place)
            return
        waiting = iter(tasks)
        running: set[Future[Receipt]] = set()
        try:
            while True:
                for task in islice(waiting, 2 * self.workers - len(running)):
                    running.add(self._pool.submit(run_task, task, place))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise StampError(
                "a worker process died (killed, or out of memory)",
                "run the same command again to go on; fewer --workers need less memory",
            ) from None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


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
