"""Whole shards kept on a fast disk of the machine, for sets that lie far away and are read more than once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from blake3 import blake3

from stamp_schemas import StampError, UsageFault
from stamp_train.stream.store import LocalStore, PassingFault, Store

T = TypeVar("T")

PIECE = 8 << 20  # bytes of one download request
TOUCH = 10.0  # seconds between two notes that a shard is in use
OPEN_FILES = 8  # per thread; a file that is still open takes its room even when it has been removed
_LOCKS = 64


class ShardCache:
    """A folder that holds shards by their digest, least recently used ones leaving first. Any number of processes share it.

    Args:
        folder: is made if need be.
        limit: most bytes of shards in it.
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
        if not (self.folder / cached).exists():
            with self._lock(
                f"lock-{int(digest[:8], 16) % _LOCKS:02d}"
            ):  # one process downloads, the others wait for it
                if not (self.folder / cached).exists():
                    self._download(source, name, digest)
                    self._evict(cached)
        return cached

    def touch(self, cached: str) -> None:
        """Note that a shard is in use."""
        try:
            os.utime(self.folder / cached)
        except FileNotFoundError:
            return  # removed a moment ago; who has it open reads on

    def _download(self, source: Store, name: str, digest: str) -> None:
        size = source.size(name)
        if size > self.limit:
            raise UsageFault(f"the cache may hold {self.limit:,} bytes, {name} alone has {size:,}", "raise its limit")
        part = self.folder / f"{digest}.{os.getpid()}.part"
        found = blake3()
        try:
            with part.open("wb") as file:
                for offset in range(0, size, PIECE):
                    data = source.read(name, offset, min(PIECE, size - offset))
                    found.update(data)
                    file.write(data)
            if found.hexdigest() != digest:
                raise StampError(
                    f"{source}/{name}: is not the shard that the manifest names (BLAKE3 differs)",
                    f"cut off, damaged, or of another build: `stamp-data verify {source}` says more",
                )
            part.rename(self.folder / f"{digest}.tar")
        except OSError as fault:
            raise StampError(f"{part}: {fault.strerror}", "is the disk of the cache full?") from None
        finally:
            part.unlink(missing_ok=True)

    def _evict(self, keep: str) -> None:
        """Remove the shards that were not used for longest, until the rest is within the limit."""
        with self._lock("lock-evict"):
            found = [(path.stat(), path) for path in self.folder.glob("*.tar")]
            total = sum(status.st_size for status, _ in found)
            for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
                if total <= self.limit:
                    break
                if path.name != keep:
                    path.unlink()
                    total -= status.st_size

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self.folder / name).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class CachedStore(Store):
    """The shards of one set, read through a cache.

    Args:
        source: where they come from.
        cache: where they are kept.
        digests: BLAKE3 of each.
    """

    def __init__(self, source: Store, cache: ShardCache, digests: Mapping[str, str]) -> None:
        super().__init__(source.place)
        self._source, self._cache, self._digests = source, cache, digests
        self._files = LocalStore(cache.folder, open_files=OPEN_FILES)
        self._touched: dict[str, float] = {}

    def _read(self, name: str, offset: int, length: int) -> bytes:
        return self._held(name, lambda cached: self._files._read(cached, offset, length))

    def _size(self, name: str) -> int:
        return self._held(name, self._files._size)

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
