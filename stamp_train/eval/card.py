"""The card of a result: everything that a number depends on."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from stamp_data.files import file_digest
from stamp_train.eval.cases import CaseSet, Prompting
from stamp_train.methods.upsample import BILINEAR

_WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "adapter/*.safetensors", "adapter/*.json")
_VERSIONS = ("stamp-seg", "torch", "transformers", "pillow", "numpy")


class SetCard(msgspec.Struct, frozen=True):
    """A shard set: its answers that hold masks (cases), the pictures that they are about, and how a build drew them.

    rounds: most that a dialogue was joined of, 1 where none was.
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
    rounds: int = 1


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, in the words of the command.

    prompt: `record` (each question as the build drew it) or `fixed` (always the first of its templates). records: of each set,
    at most; None for all. upsampling: from the
    patch grid to the picture, see `stamp_train.methods.upsample`. no_target_pixels: masks of fewer pixels say that there is no
    target; 0: only masks of none. max_new_tokens: of an answer; decoding is greedy. batch_size: cases answered at a time.
    min_tokens, max_tokens: bounds of merged patches per picture instead of the checkpoint's. factor: side of a patch in pixels,
    where labels are scored, instead of what each set was built with. seed: of the refiner.
    """

    prompt: Prompting = "record"
    records: int | None = None
    upsampling: str = BILINEAR
    no_target_pixels: int = 0
    max_new_tokens: int = 512
    batch_size: int = 16
    min_tokens: int | None = None
    max_tokens: int | None = None
    factor: int | None = None
    dtype: str = "auto"
    seed: int = 0


class Settings(Choices, frozen=True, kw_only=True):
    """The same with what it means here: another evaluation has other settings.

    checkpoint: as it was given; checkpoint_digest: BLAKE3 over names and digests of its files; base: digest of the weights
    that an adapter was put on, if they were named. modes: `free` (the model answers for itself), `forced` (the true answer is
    given up to its last `<|seg|>`). refiner: as it was asked for, and its preset. device: its kind. versions: of the software.
    """

    checkpoint: str
    checkpoint_digest: str
    sets: list[SetCard]
    modes: list[str]
    refiner: str
    device: str
    versions: dict[str, str]
    base: str = ""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What the model and the refiner turned out to be.

    family: `model_type` of its configuration. method: its settings; remarks: what its results must be read with. dtype: of its
    weights. attention: backend that computes here. min_tokens, max_tokens: bounds of merged patches per picture. images: what
    turned pictures into numbers, with versions. repetition_penalty: from the checkpoint's generation config. refiner: its name,
    which says settings and seed; "" for none, `none` where it could not be had. Where labels are scored, all but the refiner is
    empty.
    """

    family: str = ""
    method: dict[str, Any] = {}
    remarks: list[str] = []
    dtype: str = ""
    attention: str = ""
    min_tokens: int = 0
    max_tokens: int = 0
    images: dict[str, str] = {}
    repetition_penalty: float = 1.0
    refiner: str = ""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """How the numbers were made.

    decoding: of text. threshold: in which order masks are enlarged and cut off. masks: which of an answer's masks count for
    which target. no_target: what says that there is none. model: that answered; None where labels were scored themselves.
    """

    decoding: str
    threshold: str
    masks: str
    no_target: str
    settings: Settings
    model: Opened | None


def set_card(one: CaseSet) -> SetCard:
    """What the card says of a set."""
    built, cases, pictures = one.manifest.settings, len(one), len(one.rows)
    where = built.dataset, built.split_by, built.split
    digest = one.manifest.digest
    return SetCard(one.name, *where, digest, cases, pictures, built.wording, built.seed, built.most_rounds)


def checkpoint_digest(folder: Path) -> str:
    """BLAKE3 over names and digests of the files that make a model, hex."""
    files = sorted({path for pattern in _WEIGHTS for path in folder.glob(pattern)})
    listing = "".join(f"{path.relative_to(folder)} {file_digest(path)}\n" for path in files)
    return blake3(listing.encode()).hexdigest()


def software() -> dict[str, str]:
    """Versions of what computes."""
    return {name: version(name) for name in _VERSIONS}
