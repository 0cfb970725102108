"""The one way in which a user's mistake or bad data reaches the terminal."""

from __future__ import annotations

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


def first_line(fault: BaseException) -> str:
    """What went wrong, without the rest of the story."""
    return next(iter(str(fault).strip().splitlines()), "") or type(fault).__name__


class naming:  # noqa: N801 - it stands in `with` statements; a generator would cost six times as much, once per write
    """An OSError of the block that names no file, as those of `write` do not, is given this name and passed on.

    part: a name that stands for `path` until all is written, and that nobody has heard of.
    """

    __slots__ = ("part", "path")

    def __init__(self, path: str | PathLike[str], part: str | PathLike[str] = "") -> None:
        self.path = path
        self.part = part

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if not isinstance(fault, OSError):
            return
        if fault.errno is not None and fault.filename is None:
            fault.filename = str(self.path)
        elif self.part and str(fault.filename).startswith(str(self.part)):
            fault.filename = str(self.path) + str(fault.filename).removeprefix(str(self.part))
