"""What is known so far: one line per scored mask, appended batch by batch by every process, safe against a kill.

OUT/parts/rank-00000.jsonl     lines of batches, each followed by a line that says it is whole
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from stamp_schemas import StampError
from stamp_train.eval.folder import PARTS, writing
from stamp_train.eval.metrics import CaseScore

DAMAGED = "damaged"


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One mask of one case in one variant.

    Attributes:
        set: name of the shard set.
        id: of the case.
        target: which of its true masks, from 0.
        variant: mode, and `+` the refiner's name.
        expression: what was to be found.
        answer: what the model said, `<|seg|>` in its place.
        masks: how many masks the answer has.
        iou: under our own convention.
        score: whole numbers that every convention makes its metrics of; None for a damaged case.
        flags: `no_seg` (no mask in the answer), `several_masks`, `fewer_masks` (than the case has true ones), `cut_off`
            (the answer hit its limit), `unrefined` (the refiner gave up), `damaged` (not scored).
        fault: what is wrong with a damaged case.
        size: height and width of the picture.
        counts: the predicted mask, compressed COCO run lengths.
    """

    set: str
    id: str
    target: int = 0
    variant: str = ""
    expression: str = ""
    answer: str = ""
    masks: int = 0
    iou: float = 0.0
    score: CaseScore | None = None
    flags: list[str] = []
    fault: str = ""
    size: tuple[int, int] = (0, 0)
    counts: str = ""


class Whole(msgspec.Struct):
    """Ends a batch; without it the lines before are not counted."""

    batch: int


class Journal:
    """Appends whole batches to the file of one process.

    Args:
        folder: of the evaluation.
        rank: of the process.

    Raises:
        StampError: another process writes to it.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = path = folder / PARTS / f"rank-{rank:05d}.jsonl"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StampError(
                f"{path}: another process is writing to it", "wait for it or end it, then run the command again"
            ) from None
        whole = sum(size for _, _, size in _batches(path))
        if whole < path.stat().st_size:
            self._file.truncate(whole)  # what was cut off is done again

    def add(self, batch: int, lines: Sequence[Line]) -> None:
        """Append a batch; it is on the disk when this returns.

        Raises:
            StampError: the disk refuses it.
        """
        data = b"".join(msgspec.json.encode(one) + b"\n" for one in (*lines, Whole(batch)))
        with writing(self._path):
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def done_batches(folder: Path) -> set[int]:
    """Numbers of all whole batches of all processes, those of now and those of earlier runs."""
    return {batch for path in _parts(folder) for batch, _, _ in _batches(path)}


def read_batches(folder: Path) -> dict[int, list[Line]]:
    """The lines of these batches.

    Raises:
        StampError: a file is damaged.
    """
    found = {}
    for path in _parts(folder):
        for batch, lines, _ in _batches(path):
            try:
                found[batch] = [msgspec.json.decode(line, type=Line) for line in lines]
            except msgspec.MsgspecError as fault:
                raise _damage(path, fault) from None
    return found


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS).glob("rank-*.jsonl"))


def _batches(path: Path) -> Iterator[tuple[int, list[bytes], int]]:
    """(number, lines, bytes with the line that ends it) of each whole batch of a file."""
    lines: list[bytes] = []
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        size += len(line)
        if not line.endswith(b"\n"):
            return
        try:
            whole = msgspec.json.decode(line, type=Whole)
        except msgspec.ValidationError:  # has no `batch`: a line of a case
            lines.append(line)
            continue
        except msgspec.DecodeError as fault:
            raise _damage(path, fault) from None
        yield whole.batch, lines, size
        lines, size = [], 0


def _damage(path: Path, fault: msgspec.MsgspecError) -> StampError:
    return StampError(f"{path}: damaged: {fault}", "--overwrite begins anew")
