"""What every store does: read ranges of files, and be patient.

Faults that may pass (time-outs, lost connections, 5xx) are tried again, ever more slowly, until the store's patience is at
an end; what remains is one StampError. Stores are safe to share between threads; a child process opens them anew.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stamp_data.files import SHARD_LIMIT, TEXT_LIMIT
from stamp_schemas import StampError

if TYPE_CHECKING:
    from stamp_data.shards.stores.cache import ShardCache

T = TypeVar("T")
_log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds, of commands; a run's is in its recipe
FIRST_WAIT = 0.5  # seconds before the second attempt; about twice as long before each further one
LONGEST_WAIT = 30.0
ATTEMPT = 120.0  # seconds that one may last
QUIET = 60.0  # seconds between two warnings of one store
PIECE = 8 << 20  # bytes of one request for a whole file
SHOWN = 200  # characters of what another program says


class StoreFault(StampError):
    """The place cannot be read, whatever lies there: no data is at fault."""


class Missing(StampError):
    """There is no such file."""


class PassingFault(Exception):
    """A read failed in a way that another attempt may not. wait: seconds that the other side asks for."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def brief(text: object) -> str:
    """What another program says, on one line that a terminal can bear."""
    said = f"{type(text).__name__}: {text}" if isinstance(text, Exception) else str(text)
    shown = "".join(char if char.isprintable() else " " for char in said[: 2 * SHOWN])
    return " ".join(shown.split())[:SHOWN].rstrip(": ")


class Store(ABC):
    """Files below one place, read by ranges.

    place: folder or URL, for messages. patience: seconds that a read may take with all its attempts. cache: where shards
    that are read from here should be kept.
    """

    cache: ShardCache | None = None

    def __init__(self, place: str, patience: float = PATIENCE) -> None:
        self.place = place.rstrip("/") or "/"
        self.patience = patience
        self._first_wait = min(FIRST_WAIT, patience / 64)
        self._warned = -QUIET
        self._hurried = threading.Event()

    def __str__(self) -> str:
        return self.place

    def read(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes of a file from `offset` on; StampError if they cannot be had, or the file ends before."""
        data = self._patiently(self._read, name, offset, length)
        if len(data) != length:
            raise StampError(
                f"{self}/{name}: ends at byte {offset + len(data):,}, before byte {offset + length:,}", "cut off?"
            )
        return data

    def reread(self, name: str, offset: int, length: int) -> bytes:
        """`read` once more, since what came was not what should be there."""
        return self.read(name, offset, length)

    def size(self, name: str) -> int:
        """Bytes of a file; StampError if it is not there."""
        return self._patiently(self._size, name)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            self.size(name)
        except Missing:
            return False
        return True

    def pieces(self, name: str, size: int | None = None) -> Iterator[bytes]:
        """A whole file, a few MB at a time. size: its bytes, if they are known."""
        size = self.size(name) if size is None else size
        for offset in range(0, size, PIECE):
            yield self.read(name, offset, min(PIECE, size - offset))

    def get(self, name: str) -> bytes:
        """A whole file; StampError if it is too large for one that is read at once."""
        if (size := self.size(name)) > TEXT_LIMIT:
            raise StampError(
                f"{self}/{name}: {size:,} bytes, more than the {TEXT_LIMIT:,} that are read", "is it the right file?"
            )
        return b"".join(self.pieces(name, size))

    def seekable(self, name: str) -> Any:
        """A file, or the path of one, that a Parquet reader can take."""
        return _Seekable(self, name)

    @contextmanager
    def at_hand(self, names: Iterable[str]) -> Iterator[Path]:
        """A folder of this machine with those of the files that there are: the place itself, or one of copies for a while."""
        import tempfile  # not for those who have all at hand: with `random`, it takes as long to load as this package

        with tempfile.TemporaryDirectory(prefix="stamp-") as folder:
            for name in names:
                if self.has(name):
                    self._copy(name, Path(folder, name))
            yield Path(folder)

    def _copy(self, name: str, path: Path) -> None:
        if (size := self.size(name)) > SHARD_LIMIT:
            raise StampError(f"{self}/{name}: {size:,} bytes, more than the {SHARD_LIMIT:,} that are read")
        try:
            with path.open("wb") as file:
                file.writelines(self.pieces(name, size))
        except OSError as fault:
            raise StoreFault(f"{path}: {fault.strerror}", "TMPDIR names another folder for copies") from None

    def keep_open(self, files: int) -> None:  # noqa: ARG002 - by default opening costs nothing
        """How many files are read at a time, where opening one costs something."""
        return

    def hurry(self, on: bool = True) -> None:
        """Whether reads that wait for another attempt, in whatever thread, give up."""
        if on:
            self._hurried.set()
        else:
            self._hurried.clear()

    def close(self) -> None:
        """Let go of open files; reading opens them again."""
        return

    @abstractmethod
    def names(self) -> list[str] | None:
        """The files directly here, sorted; None where the place cannot be listed."""

    @abstractmethod
    def folders(self, pattern: str) -> list[str]:
        """Every place at or below this one that holds a file of this name (`*` stands for anything), sorted."""

    @abstractmethod
    def _read(self, name: str, offset: int, length: int, deadline: float) -> bytes:
        """Up to `length` bytes, by `deadline` (of time.monotonic); FileNotFoundError, PassingFault or StampError otherwise."""

    @abstractmethod
    def _size(self, name: str, deadline: float) -> int:
        """Bytes of a file, with the same faults."""

    def _patiently(self, action: Callable[..., T], name: str, *span: int) -> T:
        now, attempts, wait = time.monotonic(), 0, self._first_wait
        deadline = now + self.patience
        while True:
            attempts += 1
            try:
                return action(name, *span, min(deadline, now + ATTEMPT))
            except FileNotFoundError:
                raise Missing(f"{self}/{name}: no such file") from None
            except PassingFault as fault:
                pause = max(fault.wait, wait * (0.5 + int.from_bytes(os.urandom(1)) / 510))
                now = time.monotonic() + pause
                if now > deadline:
                    raise self._given_up(name, attempts, fault) from None
                self._warn(name, fault)
                if self._hurried.wait(pause):
                    raise StoreFault(f"{self}/{name}: cannot be read, and is waited for no longer: {fault}") from None
            wait = min(2 * wait, LONGEST_WAIT)

    def _given_up(self, name: str, attempts: int, fault: PassingFault) -> StoreFault:
        asked = f", and asks for a wait of {fault.wait:,.0f} s" if fault.wait else ""
        tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return StoreFault(
            f"{self}/{name}: cannot be read, {tried} within {self.patience:g} s failed: {fault}{asked}",
            "is the place reachable? data.store_patience of a recipe says how long a run tries",
        )

    def _warn(self, name: str, fault: PassingFault) -> None:
        """Say that a read takes longer, not with every one."""
        now = time.monotonic()
        if now - self._warned >= QUIET:
            self._warned = now
            _log.warning("%s/%s: %s; trying again, for %g s at most", self, name, fault, self.patience)


Location = str | Path | Store
"""A folder, a URL, or what was opened there."""


class _Seekable(io.RawIOBase):
    """A file of a store as Parquet readers want it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._length, self._place = store.size(name), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._length}[whence]
        self._place = max(origin + offset, 0)
        return self._place

    def readinto(self, buffer: Any) -> int:
        length = max(min(len(buffer), self._length - self._place), 0)
        buffer[:length] = self._store.read(self._name, self._place, length) if length else b""
        self._place += length
        return length
