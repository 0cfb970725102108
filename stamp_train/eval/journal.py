"""The folder of an evaluation: whose it is, and all that is known so far, safe against a kill.

OUT/settings.json            what was asked for, known before the model is opened
OUT/model.json               what model and refiner turned out to be, written by the first process that has opened them
OUT/parts/rank-00000.jsonl   what a process has done: a row per batch, with a `Line` for every mask
OUT/cases.jsonl, results.json, page.html    once all is done
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stamp_data.writing import json_text, write_atomic
from stamp_schemas import StampError, UsageFault
from stamp_train.eval.card import Opened, Settings
from stamp_train.eval.scoring import Line

SETTINGS, MODEL, PARTS = "settings.json", "model.json", "parts"
CASES, RESULTS, PAGE = "cases.jsonl", "results.json", "page.html"
Part = TypeVar("Part", Settings, Opened)
_ANEW = "--overwrite begins anew"


class _Done(msgspec.Struct):
    batch: int


class _Row(_Done):
    lines: list[Line]


_AnyRow = TypeVar("_AnyRow", bound=_Done)


def claim(folder: Path, settings: Settings, overwrite: bool = False) -> None:
    """Make a folder that of an evaluation with these settings, or go on with the one that is there.

    One that has come no further than being asked for gives way, and so does any to `overwrite`. UsageFault for one with other
    settings, or for a folder that holds something else.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith(SETTINGS))
    begun = (folder / SETTINGS).is_file()  # last: the first of several processes puts it there before all else
    if others and not begun:
        raise UsageFault(f"{folder}: holds {others[0]}, but no evaluation", "give another --out")
    if begun and not (overwrite and (folder / PARTS).is_dir()):
        other = bool(changes(read_part(folder, SETTINGS, Settings), settings))  # refuses a file of that name by others
        overwrite = overwrite or (other and not any(path.stat().st_size for path in (folder / PARTS).glob("*")))
    if begun and overwrite:
        for name in (RESULTS, CASES, PAGE, MODEL):  # files of others stay
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        write_atomic(folder / SETTINGS, json_text(settings))  # last, so that a removal cut short can be done again
    agree(folder, SETTINGS, settings)


def agree(folder: Path, name: str, part: Part) -> None:
    """Write a part of the card, or find the same in the folder, whichever process comes first; UsageFault if it is another."""
    path = folder / name
    own = path.with_name(f"{name}.{secrets.token_hex(6)}.part")
    with writing(path):
        own.write_bytes(json_text(part))
        try:
            with contextlib.suppress(FileExistsError):
                os.link(own, path)  # of several processes one wins, and none sees half a file
        finally:
            own.unlink()
    changed = changes(read_part(folder, name, type(part)), part)
    if changed:
        raise UsageFault(
            f"{folder}: holds an evaluation with other settings: {'; '.join(changed[:3])}",
            f"give another --out, or {_ANEW}",
        )


def read_part(folder: Path, name: str, kind: type[Part]) -> Part:
    """A part of the card as written; StampError if there is none, or it is damaged."""
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as fault:
        raise StampError(f"{folder / name}: {fault}", _ANEW) from None


def changes(old: Settings | Opened, new: Settings | Opened) -> list[str]:
    """Where two parts differ, one phrase each. Where a checkpoint lies does not matter."""
    before, after = (msgspec.json.decode(msgspec.json.encode(part)) for part in (old, new))  # a tuple is read as a list
    return [
        f"{field} was {_short(before[field])}, is {_short(after[field])}"
        for field in after
        if field != "checkpoint" and before[field] != after[field]
    ]


class Journal:
    """Appends batches to the file of one process. StampError if another process writes to it."""

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
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole < path.stat().st_size:
            self._file.truncate(whole)  # what was cut off is done again

    def add(self, batch: int, lines: Sequence[Line]) -> None:
        """Append a batch; it is on the disk when this returns. StampError if the disk refuses it."""
        data = msgspec.json.encode(_Row(batch, list(lines))) + b"\n"
        with writing(self._path):
            while data:
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def done_batches(folder: Path) -> set[int]:
    """Numbers of the batches that are done, by processes of now or of earlier runs; their masks are not read."""
    return {row.batch for row in _rows(folder, _Done)}


def read_batches(folder: Path) -> dict[int, list[Line]]:
    """The lines of the batches that are done, by number. StampError if a file is damaged."""
    return {row.batch: row.lines for row in _rows(folder, _Row)}


def _rows(folder: Path, kind: type[_AnyRow]) -> Iterator[_AnyRow]:
    """Rows of all processes; a last one that was cut off is left out."""
    for path in sorted((folder / PARTS).glob("rank-*.jsonl")):
        *whole, _ = path.read_bytes().split(b"\n")
        for data in whole:
            try:
                yield msgspec.json.decode(data, type=kind)
            except msgspec.MsgspecError as fault:
                raise StampError(f"{path}: damaged: {fault}", _ANEW) from None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it whatever the disk refuses becomes a StampError that names `path`."""
    try:
        yield
    except OSError as fault:
        raise StampError(f"{path}: {fault.strerror}", "make room or give another --out, then call again") from None


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
