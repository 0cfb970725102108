"""The card of a result: everything that a number depends on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from stamp_data.files import file_digest
from stamp_train.eval.cases import CaseSet

_WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "adapter/*.safetensors", "adapter/*.json")
_VERSIONS = ("stamp-seg", "torch", "transformers", "pillow", "numpy")


class SetCard(msgspec.Struct, frozen=True):
    """A shard set.

    cases: dialogues that ask for masks. pictures: that they are about. wording, seed: of the questions that the build drew.
    """

    name: str
    dataset: str
    split_by: str
    split: str
    digest: str
    cases: int
    pictures: int
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
        upsampling: from the patch grid to the picture, see `stamp_train.methods.upsample`.
        refiner: as it was asked for, and its preset; "" for none.
        no_target_pixels: masks of fewer pixels say that there is no target; 0: only masks of none.
        min_tokens, max_tokens: bounds of merged patches per picture instead of the checkpoint's.
        device: kind of device.
        dtype: as asked for.
        seed: of the refiner.
        base: digest of the weights that an adapter was put on, if they were named.
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
    base: str = ""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What the model turned out to be.

    Attributes:
        family: `model_type` of its configuration.
        method: its settings.
        dtype: of its weights.
        attention: backend that computes here.
        min_tokens, max_tokens: bounds of merged patches per picture.
        images: what turned pictures into numbers, with versions.
        repetition_penalty: from the checkpoint's generation config.
        refiner: its name, which says settings and seed; "" for none.
    """

    family: str
    method: dict[str, Any]
    dtype: str
    attention: str
    min_tokens: int
    max_tokens: int
    images: dict[str, str]
    repetition_penalty: float
    refiner: str


class Refined(msgspec.Struct, frozen=True):
    """What the refiner that was asked for turned out to be. refiner: its name; `none` where it could not be had."""

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
                len(one.rows),
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
