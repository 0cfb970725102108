"""Where a shard set lies: a folder, a web server, or anything that fsspec knows (S3, GCS, Azure, HDFS, …).

A `Store` reads ranges of files. Faults that may pass (time-outs, lost connections, 5xx) are tried again, ever more slowly;
what remains is one StampError. Stores are safe to share between threads; open them anew in a child process.
"""

from __future__ import annotations

import io
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from stamp_schemas import StampError, UsageFault
from stamp_schemas.extras import lacking

T = TypeVar("T")

ATTEMPTS = 5
FIRST_WAIT = 0.5  # seconds before the second attempt; twice as long before each further one
OPEN_FILES = 64  # per thread


class PassingFault(Exception):
    """A read failed in a way that another attempt may not."""


class Store(ABC):
    """Files below one place, read by ranges.

    Attributes:
        place: folder or URL, for messages.
        wait: seconds before the second attempt.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self.wait = FIRST_WAIT

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

    def size(self, name: str) -> int:
        """Bytes of a file; StampError if it is not there."""
        return self._patiently(self._size, name)

    def get(self, name: str) -> bytes:
        """A whole file."""
        return self.read(name, 0, self.size(name))

    def seekable(self, name: str) -> Any:
        """A file, or the path of one, that a Parquet reader can take."""
        return _Seekable(self, name)

    def _patiently(self, action: Callable[..., T], name: str, *span: int) -> T:
        wait = self.wait
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action(name, *span)
            except FileNotFoundError:
                raise StampError(f"{self}/{name}: no such file") from None
            except PassingFault as fault:
                if attempt == ATTEMPTS:
                    raise StampError(
                        f"{self}/{name}: cannot be read, {ATTEMPTS} attempts failed: {fault}", "is the store reachable?"
                    ) from None
            time.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    @abstractmethod
    def _read(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes; FileNotFoundError, PassingFault or StampError otherwise."""

    @abstractmethod
    def _size(self, name: str) -> int:
        """Bytes of a file, with the same faults."""


class LocalStore(Store):
    """A folder of this machine or of a network file system."""

    def __init__(self, folder: str | Path, open_files: int = OPEN_FILES) -> None:
        super().__init__(str(folder))
        self._limit = open_files
        self._open = _OpenFiles()

    def seekable(self, name: str) -> Any:
        if not Path(self.place, name).is_file():
            raise StampError(f"{self}/{name}: no such file")
        return f"{self.place}/{name}"

    def _read(self, name: str, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor(name), length, offset)
        except FileNotFoundError:
            raise
        except OSError as fault:
            raise StampError(f"{self}/{name}: {fault.strerror}") from None

    def _size(self, name: str) -> int:
        return os.fstat(self._descriptor(name)).st_size

    def _descriptor(self, name: str) -> int:
        files = self._open.files
        if name in files:
            files.move_to_end(name)
            return files[name].descriptor
        files[name] = _File(f"{self.place}/{name}")
        if len(files) > self._limit:
            files.popitem(last=False)
        return files[name].descriptor


class _OpenFiles(threading.local):
    """The files that a thread has open: none is closed under another thread's read."""

    def __init__(self) -> None:
        self.files: OrderedDict[str, _File] = OrderedDict()


class _File:
    """An open file that is closed with its last reference, also when its thread ends."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class FsspecStore(Store):
    """Whatever fsspec has a file system for; s3:// needs s3fs, gs:// gcsfs, and so on."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        try:
            fsspec = import_module("fsspec.core")
        except ModuleNotFoundError:
            raise lacking(f"{url}: reading it needs fsspec", "remote") from None
        try:
            self._files, self._root = fsspec.url_to_fs(self.place)
        except (
            ImportError,
            ValueError,
        ) as fault:  # the protocol's own package is missing, or there is no such protocol
            raise UsageFault(f"{url}: {fault}") from None

    def _read(self, name: str, offset: int, length: int) -> bytes:
        def read() -> bytes:
            data: bytes = self._files.cat_file(f"{self._root}/{name}", start=offset, end=offset + length)
            return data

        return self._ask(read)

    def _size(self, name: str) -> int:
        return self._ask(lambda: int(self._files.info(f"{self._root}/{name}")["size"]))

    def _ask(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (FileNotFoundError, PassingFault):
            raise
        except PermissionError as fault:
            raise StampError(f"{self}: not permitted: {fault}", "are the credentials of this machine right?") from None
        except (
            Exception
        ) as fault:  # every file system has exceptions of its own; all of them are tried again, then told
            raise PassingFault(f"{type(fault).__name__}: {fault}") from None


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


def open_store(place: str | Path) -> Store:
    """The store at a folder, an http(s) URL, or a URL of any protocol that fsspec knows."""
    text = str(place)
    if "://" not in text:
        return LocalStore(text)
    if text.startswith("file://"):
        return LocalStore(text.removeprefix("file://"))
    if text.startswith(("http://", "https://")):
        from stamp_train.stream.http import HttpStore

        return HttpStore(text)
    return FsspecStore(text)
