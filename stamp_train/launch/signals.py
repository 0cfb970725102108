"""Asking a run to stop: SIGTERM or SIGUSR1 end it after the step that it is at, with a checkpoint.

Schedulers send one of them before they take a machine away. It may reach one process of many, so that all have to agree
on the step after which they stop.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator

ASKING = (signal.SIGTERM, signal.SIGUSR1)
STOPPED = 75  # exit code, EX_TEMPFAIL of sysexits.h: not done, and to be tried again


class Stopped(Exception):
    """The run was asked to stop, and its checkpoint is on the disk. step: steps done."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped as asked after step {step}")


class StopRequest(ExitStack):
    """While it is open, SIGTERM and SIGUSR1 do no more than to be remembered. For the main thread.

    Args:
        accelerator: of the processes that have to agree.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__()
        self._accelerator = accelerator
        self._heard = False
        for number in ASKING:
            self.callback(signal.signal, number, signal.signal(number, self._hear))

    def _hear(self, *_: object) -> None:
        self._heard = True

    def agreed(self) -> bool:
        """Whether any process was asked; all of them get the same answer, and all have to ask."""
        import torch

        heard = torch.tensor(float(self._heard), device=self._accelerator.device)
        return bool(self._accelerator.reduce(heard, "sum") > 0)
