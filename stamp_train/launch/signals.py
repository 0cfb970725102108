"""Asking a run to stop: SIGTERM, SIGUSR1 or Ctrl-C end it after the step that it is at, with a checkpoint.

Schedulers send one of the first before they take a machine away. It may reach one process of many, so that all have to agree
on the step after which they stop. Whoever presses Ctrl-C a second time does not want to wait for that.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from stamp_train.launch import is_worker

if TYPE_CHECKING:
    from accelerate import Accelerator

ASKING = (signal.SIGTERM, signal.SIGUSR1)
ENDING = (*ASKING, signal.SIGINT)
STOPPED = 75  # exit code, EX_TEMPFAIL of sysexits.h: not done, and to be tried again
INTERRUPTED = 130  # of Ctrl-C, as shells have it
ONE_PRESS = 0.5  # seconds in which a second SIGINT is the same: a terminal and a launcher may both send it


class Stopped(Exception):
    """The run was asked to stop, and its checkpoint is on the disk. step: steps done. by_hand: by Ctrl-C."""

    def __init__(self, step: int, *, by_hand: bool = False) -> None:
        super().__init__(f"stopped as asked after step {step}")
        self.by_hand = by_hand


class StoppedEarly(KeyboardInterrupt):
    """The run was asked to stop, by a signal of that number, before it could be at a step."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started while it is open hear what asks them to stop only when they `listen`, and lose nothing of it.

    Python is deaf or ends in a traceback as long as it is being started.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listen() -> None:
    """Hear what was said to this process while it was `deaf`, and all that follows."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def heard_early() -> Iterator[None]:
    """While it is open, and no `StopRequest` in it, SIGTERM and SIGUSR1 raise StoppedEarly. For the main thread."""

    def stop(number: int, _: object) -> None:
        raise StoppedEarly(number)

    with ExitStack() as before:
        for number in ASKING:
            before.callback(signal.signal, number, signal.signal(number, stop))
        yield


class StopRequest(ExitStack):
    """While it is open, SIGTERM, SIGUSR1 and the first SIGINT do no more than to be remembered. For the main thread.

    In a process of several the first two do so to its end. pressed: told of the first Ctrl-C, while a signal is handled.
    """

    def __init__(self, accelerator: Accelerator, pressed: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._accelerator = accelerator
        self._tell_pressed = pressed
        self._heard, self._pressed_at = False, 0.0
        for number in ASKING:
            before = signal.signal(number, self._hear)
            if not is_worker():  # which ends with its run, and may yet have to say why when its launcher ends it
                self.callback(signal.signal, number, before)
        # Who runs it in the background has it ignored.
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            self.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, self._press))

    def _hear(self, *_: object) -> None:
        self._heard = True

    def _press(self, *_: object) -> None:
        now = time.monotonic()
        if not self._pressed_at:
            self._pressed_at = now
            self._tell_pressed()
        elif now - self._pressed_at > ONE_PRESS:
            raise KeyboardInterrupt

    def agreed(self) -> tuple[bool, bool]:
        """Whether any process was asked, and whether by Ctrl-C; all of them get the same answer, and all have to ask."""
        import torch

        heard = torch.tensor([self._heard, self._pressed_at > 0], dtype=torch.float32, device=self._accelerator.device)
        asked, pressed = (self._accelerator.reduce(heard, "sum") > 0).tolist()
        return asked or pressed, pressed
