"""What may befall a command through no fault of its own: each kind with the one line that is said of it, and its remedy.

Exceptions are known by name, so that nothing has to be imported that a command did not need.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from stamp_schemas.errors import StampError, first_line
from stamp_schemas.extras import lacking_module

REMEDIES = {
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room within your quota, then run the same command again",
    errno.EFBIG: "the file system, or `ulimit -f`, takes no file of this size",
    errno.EROFS: "give a folder that can be written to",
    errno.EACCES: "check the permissions of it and of the folders above it",
    errno.EPERM: "check the permissions of it and of the folders above it",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is no folder",
    errno.EISDIR: "a folder stands where a file belongs: give another path, or take it away",
    errno.EEXIST: "something of that name is there already: give another path, or take it away",
    errno.ENOTEMPTY: "something of that name is there already: give another path, or take it away",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "its links lead in a circle",
    errno.EMFILE: "`ulimit -n` raises the limit; fewer processes need fewer files",
    errno.ENFILE: "the system's own limit: fewer processes need fewer files",
    errno.ENOMEM: "close other programs, or use fewer processes",
    errno.EAGAIN: "the system has no process or lock to spare: run the same command again later",
    errno.EIO: "the disk or network share fails: once it answers, run the same command again",
    errno.ESTALE: "the network share has changed under us: once it answers, run the same command again",
    errno.ENOTCONN: "the network share is not connected: once it answers, run the same command again",
    errno.ETIMEDOUT: "the network share does not answer: once it does, run the same command again",
}
"""errno -> what to do about it."""


def expected(fault: BaseException) -> StampError | None:
    """The line, hint and exit code for an exception; None if it is none of those that are expected, and so a bug."""
    for kind in type(fault).__mro__:
        told = EXPECTED.get(f"{kind.__module__}.{kind.__qualname__}")
        if told is not None:
            return told(fault)
    return None


def _system_fault(fault: OSError) -> StampError:
    if fault.errno is None or not fault.strerror:  # a library's own, with a text and no more
        return StampError(first_line(fault))
    names = [_text(name) for name in (fault.filename, fault.filename2) if name is not None]
    return StampError(": ".join([*names[-1:], fault.strerror]), REMEDIES.get(fault.errno, ""))


def _no_memory(_fault: MemoryError) -> StampError:
    return StampError("out of memory", "close other programs, or use fewer processes")


def _text(name: object) -> str:
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)


EXPECTED: dict[str, Callable[[Any], StampError | None]] = {
    "stamp_schemas.errors.StampError": lambda fault: fault,
    "builtins.OSError": _system_fault,
    "builtins.MemoryError": _no_memory,
    "builtins.ModuleNotFoundError": lacking_module,
}
"""Full name of an exception -> how it is told. Of several that fit, the most special one counts."""
