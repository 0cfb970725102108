"""A folder that one process at a time may write to. The lock is the kernel's: it goes with the process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stamp_schemas import StampError

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # Lustre without -o flock, some of FUSE
_log = logging.getLogger(__name__)


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Hold an existing folder alone. StampError if another process does, which is called `another <what>` in the message.

    Network file systems know the lock on all their machines. One that knows none is told of, and then nobody is kept out.
    """
    path = folder / LOCK
    with path.open("a+") as file:
        if not _taken(path, file):
            file.seek(0)
            holder = file.read(200).strip()
            by = f" ({holder})" if holder.isprintable() and holder else ""
            raise StampError(f"{folder}: another {what} is at work here{by}", "wait for it, or give another --out")
        file.truncate(0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _taken(path: Path, file: IO[str]) -> bool:
    """Whether the lock is ours: not if it is held, or already removed by whoever held it a moment ago."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as fault:
        if fault.errno not in _NO_LOCKS:
            raise
        _log.warning(
            "%s: this file system has no locks (%s): see to it that nobody else writes here", path, fault.strerror
        )
        return True
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
