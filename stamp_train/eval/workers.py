"""Several processes of one evaluation on this machine. They share files and never talk, so no process group is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from stamp_schemas import StampError, UsageFault
from stamp_train.launch import STARTED

_POLL = 0.1  # seconds between two looks at them


def run_workers(processes: int, arguments: Sequence[str]) -> None:
    """Run `stamp-train ARGUMENTS…` in so many processes, which know their number as torchrun would tell them.

    If one fails or is killed the others are ended: StampError, or UsageFault if it said that the call is wrong.
    """
    command = [sys.executable, "-m", "stamp_cli.train", *arguments]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            told = {"RANK": str(rank), "WORLD_SIZE": str(processes), STARTED: str(rank)}
            environment = {"OMP_NUM_THREADS": "1", **os.environ, **told}
            workers.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
        while None in (codes := [worker.poll() for worker in workers]) and not any(codes):
            time.sleep(_POLL)
    finally:
        for worker in workers:
            worker.terminate()  # does nothing to those that have ended
        for worker in workers:
            worker.wait()
    for rank, code in enumerate(codes):
        if code:
            raise (UsageFault if code == UsageFault.exit_code else StampError)(
                f"process {rank + 1} of {processes} ended with exit code {code}",
                "what it said is above; the same command goes on",
            )
