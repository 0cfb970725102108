"""The folder of an evaluation: whose it is, and whether it may be gone on with.

OUT/settings.json    what was asked for, known before the model is opened
OUT/model.json       what the model turned out to be, written by the first process that has opened it
OUT/refiner.json     what the refiner turned out to be, if one was asked for
OUT/parts/           see `stamp_train.eval.journal`
OUT/cases.jsonl, results.json, page.html    once all is done
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stamp_data.writing import write_atomic
from stamp_schemas import StampError, UsageFault
from stamp_train.eval.card import Opened, Refined, Settings

SETTINGS, MODEL, REFINER, PARTS = "settings.json", "model.json", "refiner.json", "parts"
CASES, RESULTS, PAGE = "cases.jsonl", "results.json", "page.html"

Part = TypeVar("Part", Settings, Opened, Refined)


def claim(folder: Path, settings: Settings, overwrite: bool = False) -> None:
    """Make a folder that of an evaluation with these settings, or go on with the one that is there.

    Args:
        folder: of the evaluation.
        settings: of it.
        overwrite: begin anew, whatever evaluation is there.

    Raises:
        UsageFault: the folder holds an evaluation with other settings, or something else.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if _is_ours(folder) and (overwrite or _only_asked_for(folder, settings)):
        return _begin_anew(folder, settings)
    foreign = sorted(path.name for path in folder.iterdir() if not path.name.startswith(SETTINGS))
    if foreign and not (folder / SETTINGS).is_file():
        raise UsageFault(f"{folder}: holds {foreign[0]}, but no evaluation", "give another --out")
    return agree(folder, SETTINGS, settings)


def agree(folder: Path, name: str, part: Part) -> None:
    """Write a part of the card, or find the same in the folder, whichever process comes first.

    Raises:
        UsageFault: the folder holds something else.
    """
    with writing(folder / name):
        _write_first(folder / name, _text(part))
    changed = changes(read_part(folder, name, type(part)), part)
    if changed:
        raise UsageFault(
            f"{folder}: holds an evaluation with other settings: {'; '.join(changed[:3])}",
            "give another --out, or --overwrite to begin anew",
        )


def read_part(folder: Path, name: str, kind: type[Part]) -> Part:
    """A part of the card as written.

    Raises:
        StampError: there is none, or it is damaged.
    """
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as fault:
        raise StampError(f"{folder / name}: {fault}", "--overwrite begins anew") from None


def _begin_anew(folder: Path, settings: Settings) -> None:
    """Remove what an evaluation has left in its folder, and put other settings there; other files stay."""
    for name in (RESULTS, CASES, PAGE, MODEL, REFINER):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    write_atomic(folder / SETTINGS, _text(settings))  # last, so that a removal cut short can be done again


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds an evaluation, be it one whose settings are damaged."""
    try:
        read_part(folder, SETTINGS, Settings)
    except StampError:
        return (folder / SETTINGS).is_file() and (folder / PARTS).is_dir()
    return True


def _only_asked_for(folder: Path, settings: Settings) -> bool:
    """Whether an evaluation with other settings has come no further than being asked for, so that nothing is lost with it."""
    done = any(path.stat().st_size for path in (folder / PARTS).glob("*"))
    return not done and bool(changes(read_part(folder, SETTINGS, Settings), settings))


def _text(part: Settings | Opened | Refined) -> bytes:
    return msgspec.json.format(msgspec.json.encode(part), indent=2) + b"\n"


def changes(old: Part, new: Part) -> list[str]:
    """Where two parts differ, one phrase each. Where a checkpoint lies does not matter."""
    before, after = (msgspec.to_builtins(part) for part in (old, new))
    return [
        f"{field} was {_short(before[field])}, is {_short(after[field])}"
        for field in after
        if field != "checkpoint" and before[field] != after[field]
    ]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"


def _write_first(path: Path, data: bytes) -> None:
    """Write a file unless it is there; of several processes one wins, and none sees half a file."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it whatever the disk refuses becomes a StampError that names `path`."""
    try:
        yield
    except OSError as fault:
        raise StampError(f"{path}: {fault.strerror}", "make room or give another --out, then call again") from None
