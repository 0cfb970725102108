"""The one way in which a user's mistake or bad data reaches the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any


class StampError(Exception):
    """The data or the result is at fault: one line saying what and where, and a hint saying what to do. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return type(self), (self.message, self.hint)  # survives the way back from a worker process


class UsageFault(StampError):
    """The call is wrong, whatever the data. Exit code 2."""

    exit_code = 2


@contextmanager
def naming(path: str | PathLike[str], part: str | PathLike[str] = "") -> Iterator[None]:
    """An OSError of the block that names no file, as those of `write` do not, is given this name and passed on.

    part: a name that stands for `path` until all is written, and that nobody has heard of.
    """
    try:
        yield
    except OSError as fault:
        if fault.errno is not None and fault.filename is None:
            fault.filename = str(path)
        elif part and str(fault.filename).startswith(str(part)):
            fault.filename = str(path) + str(fault.filename).removeprefix(str(part))
        raise
