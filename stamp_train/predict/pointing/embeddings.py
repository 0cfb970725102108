"""What a model saw in pictures, kept on disk: looking takes seconds, asking milliseconds.

A file for each picture and model, in half precision as safetensors, with the digest of its numbers. One that is damaged is
named, and made anew by whoever asks for it; beyond a limit the files go that were not used for longest.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stamp_data.files import check_plain
from stamp_data.writing import write_atomic
from stamp_schemas import StampError
from stamp_schemas.errors import first_line

LIMIT = 4 << 30  # bytes of all files: 2,000 pictures of SAM's, 500 of SAM 2's
LARGEST = 1 << 28  # of one
SUFFIX, PART = ".safetensors", ".part"  # the latter while it is written
_DIGEST = "blake3"
_log = logging.getLogger(__name__)


class Embeddings:
    """A folder of them, made with the first. limit: bytes of all files together."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self._limit = folder, limit
        self._told = False

    def get(self, name: str, shapes: Sequence[tuple[int, ...]]) -> list[Tensor] | None:
        """Tensors of these shapes, float16, as `put` was given them; None if there are none of that name, or damaged ones."""
        path = self._file(name)
        if self.folder.is_symlink():
            return None
        try:
            check_plain(path, path.stat(), LARGEST)
            found = _read(path)
            os.utime(path)  # it was used
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, StampError, SafetensorError, ValueError) as fault:
            _log.warning("%s: damaged, and made again: %s", path, first_line(fault).removeprefix(f"{path}: "))
            return None
        if [tuple(one.shape) for one in found] != list(shapes) or any(one.dtype != torch.float16 for one in found):
            _log.warning("%s: damaged, and made again: tensors of other shapes", path)
            return None
        return found

    def put(self, name: str, tensors: Sequence[Tensor]) -> None:
        """Keep tensors, float16 on the CPU. What cannot be written is told of once, and not kept."""
        tensors = [one.contiguous() for one in tensors]
        data = save({str(i): one for i, one in enumerate(tensors)}, {_DIGEST: _digest(tensors)})
        if self.folder.is_symlink():
            return self._tell("it is a link, and others' files may lie there")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file(name), data)
            self._shrink()
        except OSError as fault:
            self._tell(fault.strerror)
        return None

    def _tell(self, why: str | None) -> None:
        if not self._told:
            _log.warning("%s: what SAM sees is not kept: %s", self.folder, why)
        self._told = True

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"

    def _shrink(self) -> None:
        """Take away what was not used for longest, and what a killed process left half-written."""
        found = [
            (entry.stat(), entry.path)
            for entry in os.scandir(self.folder)
            if entry.is_file(follow_symlinks=False) and entry.name.endswith((SUFFIX, PART))
        ]
        files = sorted((status.st_mtime_ns, status.st_size, path) for status, path in found)
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._limit:
                return
            Path(path).unlink(missing_ok=True)
            total -= size


def _read(path: Path) -> list[Tensor]:
    opened: Any = safe_open(path, "pt")
    with opened as file:
        found = [file.get_tensor(str(i)) for i in range(len(file.keys()))]
        told = (file.metadata() or {}).get(_DIGEST)
    if told != _digest(found):
        raise ValueError("its digest is another")
    return found


def _digest(tensors: Sequence[Tensor]) -> str:
    digest = blake3()
    for one in tensors:
        digest.update(one.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
