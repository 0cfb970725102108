"""Writing so that nobody ever meets half of it: files and folders that are whole or not there, and folders of one writer.

The lock of a folder is the kernel's: it goes with the process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from stamp_schemas import StampError
from stamp_schemas.errors import naming

LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # Lustre without -o flock, some of FUSE
_log = logging.getLogger(__name__)


def part_of(path: Path) -> Path:
    """The name that a file has while this process writes it."""
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def json_text(value: object, **options: Any) -> bytes:
    """A value as JSON for people too, two spaces to a level, a newline at the end. options: of `msgspec.json.encode`."""
    return msgspec.json.format(msgspec.json.encode(value, **options), indent=2) + b"\n"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a small file so that `path` holds either its old content or all of the new."""
    part = part_of(path)
    try:
        with naming(path, part), part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder beside its name, then rename it; one that is there already gives way.

    Whatever `fill` raises is passed on, after the unfinished folder is gone.
    """
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        for file in partial.rglob("*"):
            sync(file)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        path.rename(old)
    partial.rename(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Hold an existing folder alone. StampError if another process does, which is called `another <what>` in the message.

    Network file systems know the lock on all their machines. One that knows none is told of, and then nobody is kept out.
    """
    path = folder / LOCK
    with _opened(path) as file:
        if not _taken(path, file):
            file.seek(0)
            holder = file.read(200).strip()
            by = f" ({holder})" if holder.isprintable() and holder else ""
            raise StampError(f"{folder}: another {what} is at work here{by}", "wait for it, or give another --out")
        file.truncate(0)
        os.write(file.fileno(), f"process {os.getpid()} on {os.uname().nodename}\n".encode())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _opened(path: Path) -> IO[str]:
    """A lock's file, which is no link: what that leads to would be emptied."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a+")
    except OSError as fault:
        if fault.errno != errno.ELOOP:
            raise
        raise StampError(f"{path}: a link stands where the lock is to be", "take it away") from None


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
