"""`checksums.json` of a checkpoint: size and XXH3-64 of each of its files, so that damage is found before it is trained on;
and the reading of a whole run against it.

{"files": {"model.safetensors": {"bytes": 8832, "xxh3": "0f…"}, "optimizer.pt": …, "state.json": …}}
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from xxhash import xxh3_64

from stamp_data.writing import json_text
from stamp_schemas import StampError, UsageFault
from stamp_train.train.folder import CHECKPOINTS, FINAL, STATE, read_progress

CHECKSUMS = "checksums.json"
LARGEST = 4 << 20  # bytes of a list; one of a thousand files has 90,000


class Checksum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one file."""

    bytes: int
    xxh3: str


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: dict[str, Checksum]


def write_checksums(folder: Path) -> None:
    """Write down all files of a folder, as they are on the disk or on their way to it."""
    files = {name: Checksum(path.stat().st_size, _digest(path)) for name, path in _files(folder).items()}
    (folder / CHECKSUMS).write_bytes(json_text(_List(files), order="sorted"))


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


class Checked(msgspec.Struct, frozen=True):
    """One folder. step: of a checkpoint. checksums: whether there were any to compare with."""

    folder: str
    step: int | None
    files: int
    bytes: int
    checksums: bool
    faults: list[str]


def checked_folders(path: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, and its finished model; or one of these by itself. UsageFault: there is none."""
    steps = [folder for folder in (path / CHECKPOINTS).glob("step-*") if folder.is_dir()]
    found = sorted(steps, key=lambda folder: (len(folder.name), folder.name))
    found += [path / FINAL] * (path / FINAL).is_dir()
    if not found and ((path / CHECKSUMS).is_file() or (path / STATE).is_file()):
        return [path]
    if not found:
        raise UsageFault(f"{path}: no checkpoint of a run", "give the folder of a run, or of one of its checkpoints")
    return found


def check_folder(folder: Path) -> Checked:
    """One of `checked_folders`, read from the first byte to the last."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    faults = find_faults(folder)
    found, step = list(faults or []), None
    if folder.name != FINAL:
        try:
            step = read_progress(folder).step
        except StampError as fault:
            if not found:
                found = [fault.message.removeprefix(f"{folder / STATE}: ").removeprefix(f"{folder}: ")]
    return Checked(str(folder), step, len(sizes), sum(sizes), checksums=faults is not None, faults=found)


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
    if json_text(listed, order="sorted") != data:  # written by nobody of us
        raise StampError(f"{CHECKSUMS}: damaged: its bytes have changed")
    return listed


def _files(folder: Path) -> dict[str, Path]:
    """The plain files of a folder and of those in it, by their paths from there, but not the list itself."""
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: path for name, path in found if name != CHECKSUMS}


def _digest(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, xxh3_64).hexdigest()  # in blocks of 256 KiB, which fit a processor's cache
