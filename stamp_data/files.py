"""Files of a set, opened without trust: nothing but plain files, of bounded size, and none that would be waited for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec
from blake3 import blake3

from stamp_schemas import StampError

T = TypeVar("T")
UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what comes of decoding something else
BLOCK = 1 << 20  # bytes hashed at a time
TEXT_LIMIT = 1 << 30  # bytes of a file that is read as a whole; the manifest of a million shards has a third of it
INDEX_LIMIT = 1 << 36  # bytes of an index; of a hundred million records it has a third
SHARD_LIMIT = 1 << 40  # bytes; a sparse file may claim to be of any size, and would be read for years


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was looked at: bytes, and time of its last change in nanoseconds."""

    size: int
    changed: int


MISSING = Stamp(-1, 0)
RIVALS_TOLD = 4
NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def rivals_told(rivals: Sequence[str]) -> str:
    """The files, or folders (`name/`), between which nothing decides, in a few words."""
    return f"{', '.join(rivals[:RIVALS_TOLD])}{', …' * (len(rivals) > RIVALS_TOLD)} fit equally well"


def open_plain(path: Path, limit: int = SHARD_LIMIT) -> BinaryIO:
    """The file, open for reading. StampError if it is a pipe, a device or a folder, or has more than `limit` bytes.

    Nothing but a plain file is ever opened: a pipe would be waited for, a device may do anything. OSError as from `open`.
    """
    check_plain(path, path.stat(), limit)
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    try:
        check_plain(path, os.fstat(file.fileno()), limit)  # it may have been exchanged meanwhile
    except StampError:
        file.close()
        raise
    return file


def read_plain(path: Path, limit: int = TEXT_LIMIT) -> bytes:
    """All bytes of a file; see `open_plain`."""
    with open_plain(path, limit) as file:
        return file.read()


def read_struct(path: Path, kind: type[T], limit: int = TEXT_LIMIT, hint: str = "") -> T:
    """A JSON file of our own as `kind`; StampError if the disk has not kept it. hint: what to do then."""
    try:
        return msgspec.json.decode(read_plain(path, limit), type=kind)
    except UNDECODABLE as fault:
        raise StampError(f"{path}: damaged: {fault}", hint) from None


def file_digest(path: Path, limit: int = SHARD_LIMIT) -> str:
    """BLAKE3 of a file, hex; see `open_plain`."""
    digest = blake3()
    with open_plain(path, limit) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def check_plain(path: Path, status: os.stat_result, limit: int = SHARD_LIMIT) -> None:
    """StampError for a file of that status that `open_plain` would refuse."""
    if not stat.S_ISREG(status.st_mode):
        raise StampError(f"{path}: not a plain file", "take it away, or put the real file in its place")
    if status.st_size > limit:
        raise StampError(
            f"{path}: {status.st_size:,} bytes, more than the {limit:,} that are read", "is it the right file?"
        )


def stamp(path: str) -> Stamp:
    """The stamp of a file, MISSING if there is none of that name. OSError where the system cannot tell."""
    try:
        status = os.stat(path)  # noqa: PTH116 - once per record; a Path costs double
    except ValueError:  # a NUL in the name
        return MISSING
    except OSError as fault:
        if fault.errno in NO_SUCH_FILE:
            return MISSING
        raise
    return Stamp(status.st_size, status.st_mtime_ns)
