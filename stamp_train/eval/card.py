"""The card of a result: everything that a number depends on. It also says whether an evaluation may be gone on with.

OUT/settings.json    what was asked for, known before the model is opened
OUT/model.json       what the model turned out to be, written by the first process that has opened it
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from blake3 import blake3

from stamp_data.shards.manifest import file_digest
from stamp_data.shards.writer import write_atomic
from stamp_schemas import StampError, UsageFault
from stamp_train.eval.cases import CaseSet

SETTINGS, MODEL, PARTS, CASES, RESULTS, PAGE = (
    "settings.json", "model.json", "parts", "cases.jsonl", "results.json", "page.html",
)  # fmt: skip
"""Files of an evaluation; `PARTS` is a folder."""
_WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "adapter/*.safetensors", "adapter/*.json")
_VERSIONS = ("stamp-seg", "torch", "transformers", "pillow", "numpy")

Part = TypeVar("Part", "Settings", "Opened")


class SetCard(msgspec.Struct, frozen=True):
    """A shard set. cases: dialogues that ask for masks. wording, seed: of the questions that the build drew."""

    name: str
    dataset: str
    split_by: str
    split: str
    digest: str
    cases: int
    wording: str
    seed: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        checkpoint: as it was given.
        checkpoint_digest: BLAKE3 over names and digests of its files.
        sets: the shard sets.
        prompt: `record` (each question as the build drew it) or `fixed` (always the first of its templates).
        modes: `free` (the model answers for itself), `forced` (the true answer is given up to its last `<|seg|>`).
        max_new_tokens: most tokens of an answer; decoding is greedy.
        batch_size: most cases answered at a time.
        upsampling: from the patch grid to the picture, see `stamp_train.predict.upsample`.
        refiner: as it was asked for, and its preset; "" for none.
        no_target_pixels: masks of fewer pixels say that there is no target; 0: only masks of none.
        min_tokens, max_tokens: bounds of merged patches per picture instead of the checkpoint's.
        device: kind of device.
        dtype: as asked for.
        seed: of the refiner.
        versions: of the software.
    """

    checkpoint: str
    checkpoint_digest: str
    sets: list[SetCard]
    prompt: str
    modes: list[str]
    max_new_tokens: int
    batch_size: int
    upsampling: str
    refiner: str
    no_target_pixels: int
    min_tokens: int | None
    max_tokens: int | None
    device: str
    dtype: str
    seed: int
    versions: dict[str, str]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What the model turned out to be.

    Attributes:
        family: `model_type` of its configuration.
        head, mask_positions: of its mask side.
        dtype: of its weights.
        attention: backend that computes here.
        min_tokens, max_tokens: bounds of merged patches per picture.
        images: what turned pictures into numbers, with versions.
        repetition_penalty: from the checkpoint's generation config.
        refiner: its name, which says settings and seed; "" for none.
    """

    family: str
    head: str
    mask_positions: str
    dtype: str
    attention: str
    min_tokens: int
    max_tokens: int
    images: dict[str, str]
    repetition_penalty: float
    refiner: str


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """How the numbers were made.

    Attributes:
        decoding: of text.
        threshold: in which order masks are enlarged and cut off.
        masks: which of an answer's masks count for which target.
        no_target: what says that there is no target.
        settings: what was asked for.
        model: that answered; None where labels were scored themselves.
    """

    decoding: str
    threshold: str
    masks: str
    no_target: str
    settings: Settings
    model: Opened | None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within it whatever the disk refuses becomes a StampError that names `path`."""
    try:
        yield
    except OSError as fault:
        raise StampError(f"{path}: {fault.strerror}", "make room or give another --out, then call again") from None


def set_cards(sets: Sequence[CaseSet]) -> list[SetCard]:
    """What the card says of sets."""
    found = []
    for one in sets:
        known = one.manifest.settings
        found.append(
            SetCard(
                one.name,
                known.dataset,
                known.split_by,
                known.split,
                one.manifest.digest,
                len(one),
                known.wording,
                known.seed,
            )
        )
    return found


def checkpoint_digest(folder: Path) -> str:
    """BLAKE3 over names and digests of the files that make a model, hex."""
    files = sorted({path for pattern in _WEIGHTS for path in folder.glob(pattern)})
    listing = "".join(f"{path.relative_to(folder)} {file_digest(path)}\n" for path in files)
    return blake3(listing.encode()).hexdigest()


def software() -> dict[str, str]:
    """Versions of what computes."""
    return {name: version(name) for name in _VERSIONS}


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
    for name in (RESULTS, CASES, PAGE, MODEL):
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


def _text(part: Settings | Opened) -> bytes:
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
