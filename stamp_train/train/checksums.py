"""`checksums.json` of a checkpoint: size and XXH3-64 of each of its files, so that damage is found before it is trained on.

{"files": {"model.safetensors": {"bytes": 8832, "xxh3": "0f…"}, "optimizer.pt": …, "state.json": …}}
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from xxhash import xxh3_64

from stamp_schemas import StampError

CHECKSUMS = "checksums.json"
LARGEST = 4 << 20  # bytes of a list; one of a thousand files has 90,000
_BLOCK = 256 << 10  # bytes read and hashed at a time; what fits a processor's cache takes half as long as more


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one file."""

    bytes: int
    xxh3: str


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: dict[str, Checksum]


def write_checksums(folder: Path) -> None:
    """Write down all files of a folder, as they are on the disk or on their way to it."""
    files = {name: Checksum(path.stat().st_size, _digest(path)) for name, path in _files(folder).items()}
    (folder / CHECKSUMS).write_bytes(_encoded(_List(files)))


def find_faults(folder: Path) -> list[str] | None:
    """What is not as it was written, a line for each file; None for a folder without a list, which older versions wrote.

    Files that the list does not name may have been added by anyone, and are no fault.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return None
    try:
        listed = _read(path)
    except (OSError, StampError) as fault:
        return [str(fault)]
    there = _files(folder)
    compared = ((name, _difference(there.get(name), written)) for name, written in listed.files.items())
    return [f"{name}: {difference}" for name, difference in compared if difference]


def _difference(path: Path | None, written: Checksum) -> str:
    if path is None:
        return "missing"
    try:
        size = path.stat().st_size
        if size != written.bytes:
            return f"{size:,} bytes, it was written with {written.bytes:,}"
        return "" if _digest(path) == written.xxh3 else "damaged: its bytes have changed"
    except OSError as fault:
        return f"cannot be read: {fault.strerror}"


def _read(path: Path) -> _List:
    data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    try:
        listed = msgspec.json.decode(data, type=_List)
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise StampError(f"{CHECKSUMS}: damaged: {fault}") from None
    if _encoded(listed) != data:  # written by nobody of us
        raise StampError(f"{CHECKSUMS}: damaged: its bytes have changed")
    return listed


def _encoded(listed: _List) -> bytes:
    return msgspec.json.format(msgspec.json.encode(listed, order="sorted"), indent=2) + b"\n"


def _files(folder: Path) -> dict[str, Path]:
    """The plain files of a folder and of those in it, by their paths from there, but not the list itself."""
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: path for name, path in found if name != CHECKSUMS}


def _digest(path: Path) -> str:
    digest, block = xxh3_64(), memoryview(bytearray(_BLOCK))
    handle = os.open(path, os.O_RDONLY)
    try:
        while count := os.readv(handle, [block]):
            digest.update(block[:count])
    finally:
        os.close(handle)
    return digest.hexdigest()
