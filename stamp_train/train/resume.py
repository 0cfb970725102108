"""From where a run goes on: its checkpoints, how far each is, and the newest that is whole. Imports next to nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import msgspec

from stamp_schemas import StampError, UsageFault
from stamp_train.train.checksums import CHECKSUMS, find_faults
from stamp_train.train.runlog import CHECKPOINTS, FINAL, LOG, read_rows

STATE = "state.json"  # of a checkpoint
EARLIER = "--resume auto goes on from the newest checkpoint that is whole"
_log = logging.getLogger(__name__)
_Count = Annotated[int, msgspec.Meta(ge=0)]
_LARGEST_STATE = 1 << 20  # bytes; they are some hundred


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is.

    step: optimizer steps done, over all stages. stage: index of the stage. stage_step: steps of that stage done.
    stream: the loader's state. metrics: of the last evaluation, if it was at this step.
    """

    step: _Count
    stage: _Count
    stage_step: _Count
    stream: dict[str, str | int]
    metrics: dict[str, float] = {}


def find(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    complete = (path for path in folder.glob("step-*") if (path / STATE).is_file())
    return sorted(complete, key=lambda path: (len(path.name), path.name))  # the millionth step has a digit more


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was. UsageFault: no checkpoint of ours. StampError: its state is damaged."""
    path = checkpoint / STATE
    if not path.is_file():
        raise UsageFault(f"{checkpoint}: not a checkpoint of a run: no {STATE}")
    try:
        data = path.read_bytes() if path.stat().st_size <= _LARGEST_STATE else b""
        return msgspec.json.decode(data, type=Progress)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise StampError(f"{path}: damaged: {fault}", EARLIER) from None


def find_start(out: Path, resume: str) -> Path | None:
    """The checkpoint to go on from, or None to begin. Whether it is whole is not looked at: see `find_whole`.

    out: run folder. resume: empty, `auto`, or a checkpoint's folder. UsageFault: there is no such checkpoint, or the run folder
    holds a run already and nobody asked to go on with it.
    """
    found = find(out / CHECKPOINTS)
    if resume == "auto":
        return found[-1] if found else None
    if resume:
        if not (Path(resume) / STATE).is_file():
            raise UsageFault(f"{resume}: not a checkpoint of a run: no {STATE}")
        return Path(resume)
    if found or (out / FINAL).exists():
        raise UsageFault(f"{out} holds a run already", "--resume auto goes on with it; --out names another folder")
    if steps := len(read_rows(out / LOG)):
        raise UsageFault(
            f"{out} holds the log of {steps:,} steps, and no checkpoint to go on from",
            "--resume auto begins anew there, and the log goes; --out names another folder",
        )
    return None


def find_whole(out: Path, resume: str) -> Path | None:
    """As `find_start`, but every file of it is as it was written: `auto` passes over checkpoints of which that is untrue.

    StampError: the checkpoint that was named is damaged, or all of them are.
    """
    start = find_start(out, resume)
    if start is None:
        return None
    candidates = find(out / CHECKPOINTS)[::-1] if resume == "auto" else [start]
    damaged: list[str] = []
    for checkpoint in candidates:
        if not (fault := _first_fault(checkpoint)):
            if damaged:
                _log.warning("damaged: %s; going on from %s instead", "; ".join(damaged), checkpoint)
            return checkpoint
        damaged.append(f"{checkpoint}: {fault}")
    hint = f"`stamp-train verify {out}` lists all faults; another --out begins anew" if resume == "auto" else EARLIER
    raise StampError(f"damaged: {'; '.join(damaged)}", hint)


def _first_fault(checkpoint: Path) -> str:
    """Empty for a checkpoint that is whole, or was written before there were checksums, which is said."""
    faults = find_faults(checkpoint)
    if faults is None:
        _log.warning("%s has no %s, which older versions did not write: it is not checked", checkpoint, CHECKSUMS)
        return ""
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{faults[0]}{more}" if faults else ""
