"""Commands that a comparison runs, each in a process of its own: one that fails, or eats all memory, takes no other along."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stamp_schemas import StampError
from stamp_train.launch.signals import INTERRUPTED, STOPPED, StoppedEarly

OUTPUT, LOCK = "output.log", "job.lock"
_ENDED = "error: "  # how our commands begin the line that says why they end
Tell = Callable[[str], None]


def run_module(module: str, arguments: Sequence[str], folder: Path, tell: Tell) -> None:
    """Run `python -m MODULE ARGUMENTS…` to its end; what it says goes to `tell`, and to `output.log` in the folder.

    A process that a killed comparison left behind in the folder is waited for: it ends when it finds that nobody listens.
    Ctrl-C, SIGTERM and SIGUSR1 are passed on, and raised when the process has ended. StampError: it failed, and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, tell) as lock, (folder / OUTPUT).open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=[lock.fileno()],
            start_new_session=True,  # signals of a terminal reach it through us alone
        )
        said = _follow(process, output, tell)
    if process.returncode:
        raise StampError(_reason(said, process.returncode), f"{folder / OUTPUT} has all that it said")


def _follow(process: subprocess.Popen[str], output: IO[str], tell: Tell) -> list[str]:
    """The lines of a process, until it has ended; asked to stop, it may end as it wants, asked twice it may not."""
    said: list[str] = []
    asked: KeyboardInterrupt | None = None
    assert process.stderr is not None  # a pipe
    while True:
        try:
            for line in process.stderr:
                said.append(line.rstrip())
                output.write(line)
                output.flush()
                tell(said[-1])
            process.wait()
        except KeyboardInterrupt as once:
            if asked:
                process.kill()
                process.wait()
                raise
            asked = once
            process.send_signal(once.number if isinstance(once, StoppedEarly) else signal.SIGINT)
            continue
        if asked:
            raise asked
        if process.returncode in (STOPPED, INTERRUPTED):
            raise KeyboardInterrupt  # somebody stopped it, and not us
        return said


def _reason(said: Sequence[str], code: int) -> str:
    """Why a process ended, in one line."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    errors = [line.removeprefix(_ENDED) for line in said if line.startswith(_ENDED)]
    words = [line.strip() for line in said if re.search(r"\w", line)]
    return (errors or words or [f"exit code {code}"])[-1]


@contextmanager
def _alone(folder: Path, tell: Tell) -> Iterator[IO[str]]:
    """Hold the folder's lock, which the process that is started holds as well, and so for longer than we live."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for a process that a call before left behind")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
