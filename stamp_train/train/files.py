"""Files and folders that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stamp_schemas.errors import naming


def sync_file(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside its name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    with naming(path):
        partial.write_bytes(data)
        sync_file(partial)
    partial.replace(path)


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
            sync_file(file)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        path.rename(old)
    partial.rename(path)
    sync_file(path.parent)
    shutil.rmtree(old, ignore_errors=True)
