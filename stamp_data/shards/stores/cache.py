"""Whole shards kept on a fast disk of the machine, for sets that lie far away and are read more than once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from stamp_data.shards.stores.base import PassingFault, Store, StoreFault
from stamp_data.shards.stores.local import LocalStore
from stamp_schemas import StampError, UsageFault

T = TypeVar("T")

TOUCH = 10.0  # seconds between two notes that a shard is in use
OPEN_FILES = 8  # per thread; a file that is still open takes its room even when it has been removed
_LOCKS = 64
ABANDONED = 3600.0  # seconds without a byte, after which a download is taken for dead


class ShardCache:
    """A folder that holds shards by their digest, least recently used ones leaving first. Any number of processes share it.

    folder: is made if need be. limit: most bytes of shards in it; each process that is about to add one makes room first.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise UsageFault(f"{folder}: {fault.strerror}", "the cache needs a folder of its own") from None

    def fetch(self, source: Store, name: str, digest: str) -> str:
        """Name in the folder of shard `name`, downloaded from `source` and checked against its BLAKE3 if it is not there."""
        cached = f"{digest}.tar"
        try:
            if not (self.folder / cached).exists():
                with self._lock(f"lock-{int(digest[:8], 16) % _LOCKS:02d}"):  # one downloads, the others wait for it
                    if not (self.folder / cached).exists():
                        self._download(source, name, digest)
        except OSError as fault:
            raise StoreFault(f"{self.folder}: {fault.strerror}", "is the disk of the cache full?") from None
        return cached

    def forget(self, cached: str) -> None:
        """Remove a shard whose bytes have changed since they were checked."""
        (self.folder / cached).unlink(missing_ok=True)

    def touch(self, cached: str) -> None:
        """Note that a shard is in use."""
        try:
            os.utime(self.folder / cached)
        except FileNotFoundError:
            return  # removed a moment ago; who has it open reads on

    def _download(self, source: Store, name: str, digest: str) -> None:
        size = source.size(name)
        if size > self.limit:
            raise UsageFault(
                f"{self.folder}: may hold {self.limit:,} bytes, {name} alone has {size:,}", "raise data.cache.limit"
            )
        self._make_room(size)
        part = self.folder / f"{digest}.{os.getpid()}.part"
        try:
            if (
                _copy(source, name, size, part) != digest and _copy(source, name, size, part) != digest
            ):  # it may have been the way
                raise StampError(
                    f"{source}/{name}: is not the shard that the manifest names (BLAKE3 differs)",
                    f"cut off, damaged, or of another build: `stamp-data verify {source}` says more",
                )
            part.rename(self.folder / f"{digest}.tar")
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove what downloads have left that were killed, and the shards that were not used for longest."""
        with self._lock("lock-evict"):
            found = list(self._held())
            total = size + sum(status.st_size for status, _ in found)
            for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
                dead = path.suffix == ".part" and time.time() - status.st_mtime > ABANDONED
                if dead or (path.suffix == ".tar" and total > self.limit):
                    path.unlink(missing_ok=True)
                    total -= status.st_size

    def _held(self) -> Iterator[tuple[os.stat_result, Path]]:
        """Shards and downloads, and what is known of them."""
        for path in self.folder.glob("*.*"):
            if path.suffix in (".tar", ".part"):
                with suppress(FileNotFoundError):  # a download that has ended just now
                    yield path.stat(), path

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self.folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _copy(source: Store, name: str, size: int, path: Path) -> str:
    """Download a file; its BLAKE3, hex."""
    found = blake3()
    with path.open("wb") as file:
        for data in source.pieces(name, size):
            found.update(data)
            file.write(data)
    return found.hexdigest()


class CachedStore(Store):
    """The shards of one set, read through a cache. digests: BLAKE3 of each."""

    def __init__(self, source: Store, cache: ShardCache, digests: Mapping[str, str]) -> None:
        super().__init__(source.place, source.patience)
        self._source, self._cache, self._digests = source, cache, digests
        self._files = LocalStore(cache.folder, open_files=OPEN_FILES)
        self._touched: dict[str, float] = {}
        self._again: set[str] = set()  # shards that were downloaded a second time

    def reread(self, name: str, offset: int, length: int) -> bytes:
        """A file of the cache may have changed, so it is downloaded again, once."""
        if name not in self._again:
            self._again.add(name)
            self._cache.forget(f"{self._digests[name]}.tar")
            self._files.close()
        return self.read(name, offset, length)

    def hurry(self, on: bool = True) -> None:
        super().hurry(on)
        self._source.hurry(on)

    def close(self) -> None:
        self._files.close()

    def names(self) -> list[str] | None:
        return self._source.names()

    def folders(self, pattern: str) -> list[str]:
        return self._source.folders(pattern)

    def _read(self, name: str, offset: int, length: int, deadline: float) -> bytes:
        return self._held(name, lambda cached: self._files._read(cached, offset, length, deadline))

    def _size(self, name: str, deadline: float) -> int:
        return self._held(name, lambda cached: self._files._size(cached, deadline))

    def _held(self, name: str, action: Callable[[str], T]) -> T:
        """What `action` makes of the cached file, which another process may remove before it is opened."""
        try:
            return action(self._fetch(name))
        except FileNotFoundError:
            raise PassingFault("it left the cache, which is too small for what is read at a time") from None

    def _fetch(self, name: str) -> str:
        cached = self._cache.fetch(self._source, name, self._digests[name])
        now = time.monotonic()
        if now - self._touched.get(cached, -TOUCH) >= TOUCH:
            self._touched[cached] = now
            self._cache.touch(cached)
        return cached
