"""Writing one shard: beside its final name, hashed on the way, renamed when whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from blake3 import blake3
from xxhash import xxh3_64_intdigest

from stamp_data.shards import tar
from stamp_data.writing import part_of
from stamp_schemas.errors import naming

BLOCK = 512 << 10  # bytes hashed and written at a time: member by member, both take twice as long
STRIDE = 2 << 20  # bytes after which the disk is set to work, so that little is left to wait for at the end


class Span(NamedTuple):
    """Where a member's bytes lie in the shard, and their xxh3-64."""

    offset: int
    size: int
    xxh3: int


class ShardWriter:
    """Writes members to `path` atomically: the final name appears only after a normal exit of the `with` block.

    Until then the data is in `<path>.<pid>.part`, which is removed if the block fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._waiting: list[bytes] = []
        self._written = 0
        self._begun = 0
        self._part = part_of(path)
        self._hash = blake3()

    def __enter__(self) -> ShardWriter:
        with naming(self.path, self._part):
            self._file = self._part.open("wb")
        return self

    def add(self, name: str, data: bytes) -> Span:
        """Append one member; returns where its bytes went."""
        head = tar.header(name, len(data))
        offset = self.size + len(head)
        self._append([head, data, tar.padding(len(data))])
        return Span(offset, len(data), xxh3_64_intdigest(data))

    def _append(self, parts: list[bytes]) -> None:
        self._waiting += parts
        self.size += sum(map(len, parts))
        if self.size - self._written >= BLOCK:
            self._write()

    def _write(self) -> None:
        """Hash and write what waits."""
        block = b"".join(self._waiting)
        self._waiting.clear()
        self._hash.update(block)
        with naming(self.path):
            self._file.write(block)
        self._written = self.size
        if self.size - self._begun >= STRIDE and hasattr(os, "posix_fadvise"):
            self._file.flush()
            # what the call does to pages that are not on the disk yet is to begin writing them
            os.posix_fadvise(self._file.fileno(), self._begun, self.size - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self.size

    @property
    def digest(self) -> str:
        """BLAKE3 of all that was written, hex; of the whole file once the block has ended."""
        return self._hash.hexdigest()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._append([tar.end(self.size)])
                self._write()
                with naming(self.path):
                    self._file.flush()
                    os.fsync(self._file.fileno())
                self._part.rename(self.path)
        finally:
            with contextlib.suppress(OSError):  # a full disk fails again here; the first failure is the one to report
                self._file.close()
            self._part.unlink(missing_ok=True)
