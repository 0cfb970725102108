"""Tasks on a Ray cluster, or on a Ray of one's own that lives as long as the build."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stamp_data.build.receipt import Receipt, Workplace
from stamp_data.build.task import run_task
from stamp_data.executors import Executor
from stamp_data.executors.work import absolute, sweep
from stamp_schemas import StampError
from stamp_schemas.extras import lacking

_QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
_END_SECONDS = 60.0  # given to tasks that were called off; a shard takes less


class RayExecutor(Executor):
    """Ray Core tasks of one core each: on the cluster that RAY_ADDRESS names or that runs here, else on this machine.

    workers: tasks at a time; as many as there are cores if None. Every node has to see the folders under the same paths.
    """

    def __init__(self, workers: int | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise lacking("--executor ray needs Ray", "ray") from None
        self.workers = workers
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            self._connect()
        # env_vars: the tasks are the parallelism. Ray retries only what died with its worker or node, not what raised.
        remote = ray.remote(num_cpus=1, max_retries=2, runtime_env={"env_vars": {"OPENBLAS_NUM_THREADS": "1"}})
        self._task: Any = remote(run_task)

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody unasked
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own advice to still a warning of it
        address = os.environ.get("RAY_ADDRESS")
        try:
            self._ray.init(address=address or "auto", **_QUIET)
        except ConnectionError as fault:
            if address and address != "auto":
                raise StampError(f"no Ray cluster at RAY_ADDRESS={address}", str(fault).split("\n")[0]) from None
            self._ray.init(address="local", num_cpus=self.workers, include_dashboard=False, **_QUIET)

    def run(self, tasks: Iterable[Path], place: Workplace) -> Iterator[Receipt]:
        waiting, there = iter(tasks), absolute(place)
        running: list[Any] = []
        try:
            while True:
                fresh = islice(waiting, max(0, self._limit() - len(running)))  # a cluster may have shrunk meanwhile
                running += [self._task.remote(task.absolute(), there) for task in fresh]
                if not running:
                    return
                done, running = self._ray.wait(running)
                for reference in done:
                    yield self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as fault:
            raise fault.cause from None  # what the task raised, as from any other executor
        except self._ray.exceptions.RayError as fault:
            what = str(fault).strip().split("\n")[0]
            raise StampError(
                f"a Ray worker was lost: {type(fault).__name__}: {what}",
                "run the same command again to go on; fewer --workers need less memory",
            ) from None
        finally:  # also where the caller gives up: it goes on to unlock the folder, so nobody may be at work in it
            for reference in running:
                self._ray.cancel(reference)
            if running:
                self._ray.wait(running, num_returns=len(running), timeout=_END_SECONDS)
            sweep(there)

    def _limit(self) -> int:
        """Tasks to have in flight. Asked each time, as clusters grow; twice the cores, so that they do grow."""
        return self.workers or max(1, 2 * int(self._ray.cluster_resources().get("CPU", 1)))

    def close(self) -> None:
        if self._ours:
            with contextlib.suppress(self._ray.exceptions.RayError):  # the cluster may be gone before us
                self._ray.shutdown()
