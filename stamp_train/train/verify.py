"""Reading every checkpoint of a run, and its finished model, and comparing them with their checksums."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stamp_schemas import StampError, UsageFault
from stamp_train.train.checksums import CHECKSUMS, find_faults
from stamp_train.train.resume import STATE, read_progress
from stamp_train.train.runlog import CHECKPOINTS, FINAL


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One folder. step: of a checkpoint. bytes: of all its files. checksums: whether there were any to compare with."""

    folder: str
    step: int | None
    files: int
    bytes: int
    checksums: bool
    faults: list[str]


def checked_folders(path: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, and its finished model; or one of these by itself.

    UsageFault: there is none.
    """
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
    return Checked(
        folder=str(folder),
        step=step,
        files=len(sizes),
        bytes=sum(sizes),
        checksums=faults is not None,
        faults=found,
    )
