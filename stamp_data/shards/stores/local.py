"""A folder of this machine or of a network file system."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stamp_data.files import check_plain, open_plain
from stamp_data.shards.stores.base import PATIENCE, PassingFault, Store, StoreFault
from stamp_schemas import StampError, UsageFault

OPEN_FILES = 16  # per thread
_PASSING = {errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}  # of network file systems


class LocalStore(Store):
    """A folder. open_files: kept per thread."""

    def __init__(self, folder: str | Path, patience: float = PATIENCE, open_files: int = OPEN_FILES) -> None:
        super().__init__(str(folder), patience)
        self._limit = open_files
        self._open = _OpenFiles()

    def seekable(self, name: str) -> Any:
        self.size(name)
        return f"{self.place}/{name}"

    @contextmanager
    def at_hand(self, names: Iterable[str]) -> Iterator[Path]:  # noqa: ARG002 - all of them are
        yield Path(self.place)

    def names(self) -> list[str] | None:
        try:
            return sorted(path.name for path in Path(self.place).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            raise StampError(f"{self}: no such folder") from None
        except OSError as fault:
            raise StoreFault(f"{self}: {fault.strerror}") from None

    def folders(self, pattern: str) -> list[str]:
        if not Path(self.place).exists():
            raise UsageFault(f"{self}: no such folder")
        return sorted({str(path.parent) for path in Path(self.place).rglob(pattern)})

    def keep_open(self, files: int) -> None:
        self._limit = files

    def close(self) -> None:
        self._open.files.clear()

    def _read(self, name: str, offset: int, length: int, deadline: float) -> bytes:  # noqa: ARG002 - the system has its own
        try:
            return os.pread(self._descriptor(name), length, offset)
        except OSError as fault:
            raise self._told(name, fault) from None

    def _size(self, name: str, deadline: float) -> int:  # noqa: ARG002 - a disk is not waited for
        try:
            status = Path(self.place, name).stat()
            check_plain(Path(self.place, name), status)
            return status.st_size
        except OSError as fault:
            raise self._told(name, fault) from None

    def _told(self, name: str, fault: OSError) -> Exception:
        self._open.files.pop(name, None)
        if fault.errno in (errno.ENOENT, errno.ENOTDIR):
            return FileNotFoundError(name)
        if fault.errno in _PASSING:
            return PassingFault(f"{fault.strerror}")
        return StoreFault(f"{self}/{name}: {fault.strerror}")

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
        with open_plain(Path(path)) as file:
            self.descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
