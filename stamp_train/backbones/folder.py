"""The folder of a model, looked at without loading anything: which family it is, its tokenizer's files, the headers of its
safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from blake3 import blake3

from stamp_train.backbones.registry import backbone_of
from stamp_train.sequence.errors import StampModelError

CONFIG, TOKENIZER, PREPROCESSOR = "config.json", "tokenizer.json", "preprocessor_config.json"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEADS = ("classifier.",)  # of weights that a base model lacks
_VOCABULARY = ("vocab.json", "merges.txt")  # what Qwen's tokenizer can be built of, too
_KINDS = ("*.safetensors", "*.bin", "*.gguf")
_LFS = b"version https://git-lfs"
_MAX_HEADER = 100_000_000  # bytes; the bound of safetensors itself
_SAMPLE = 4096  # bytes of every tensor that count for the digest
_AGAIN = "fetch it again; for a Git LFS pointer, `git lfs pull`"
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what a damaged JSON file may raise

_Layers = Annotated[int, msgspec.Meta(ge=0, le=1000)]  # of which each takes time and room before a weight is looked at


class _Tower(msgspec.Struct):
    num_hidden_layers: _Layers = 0
    depth: _Layers = 0


class Told(msgspec.Struct):
    """What config.json says before transformers reads it."""

    model_type: str = ""
    quantization_config: dict[str, Any] | None = None
    num_hidden_layers: _Layers = 0
    text_config: _Tower | None = None
    vision_config: _Tower | None = None
    stamp: Any = None


def read_told(folder: str | Path) -> Told:
    """What a configuration says of itself; StampModelError if there is none, it is damaged, of a family that nothing is built
    on, or of weights that are quantised."""
    path = Path(folder, CONFIG)
    if not path.is_file():
        inner = [str(found.parent) for found in Path(folder).glob(f"*/{CONFIG}")]
        raise StampModelError(f"no {CONFIG}", where=str(folder), fix=f"use {inner[0]}" if inner else None)
    try:
        told = msgspec.json.decode(read_whole(path), type=Told)
    except _BROKEN as fault:
        raise StampModelError(f"not a configuration: {fault}", where=str(path)) from None
    try:
        backbone_of(told.model_type)
    except StampModelError as fault:
        raise StampModelError(fault.message, where=str(path), fix=fault.hint) from None
    if told.quantization_config:
        method = told.quantization_config.get("quant_method", "")
        raise StampModelError(
            f"its weights are quantised ({method})", where=str(path), fix="use the model it was made of"
        )
    return told


def check_tokenizer(folder: Path) -> None:
    """Look whether a tokenizer is there; StampModelError if not, or if it is damaged."""
    if (folder / TOKENIZER).is_file():
        return check_json(folder / TOKENIZER)
    if all((folder / name).is_file() for name in _VOCABULARY):
        read_whole(folder / _VOCABULARY[1])
        return check_json(folder / _VOCABULARY[0])
    raise StampModelError(f"no tokenizer: neither {TOKENIZER} nor {' and '.join(_VOCABULARY)}", where=str(folder))


def check_json(path: Path) -> None:
    """Look whether a file is there and JSON; StampModelError if not."""
    try:
        msgspec.json.decode(read_whole(path))
    except _BROKEN as fault:
        raise StampModelError(f"damaged: {fault}", where=str(path)) from None


def is_base(folder: Path) -> bool:
    """Whether this is a base model: neither its configuration nor its weights say anything of masks. Errors as `read_told` and
    `stored_weights`."""
    return read_told(folder).stamp is None and not any(name.startswith(HEADS) for name in stored_weights(folder))


@dataclass(frozen=True)
class Weight:
    """One tensor. start: of its bytes in the file. size: in bytes."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def stored_weights(folder: Path) -> dict[str, Weight]:
    """Every tensor of a model's folder by its name there; StampModelError if there are none, or a file lacks or is damaged."""
    if (folder / SINGLE).is_file():
        return _tensors(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    try:
        placed = msgspec.json.decode(read_whole(folder / INDEX), type=_Index).weight_map
    except _BROKEN as fault:
        raise StampModelError(f"not an index of weights: {fault}", where=str(folder / INDEX)) from None
    found: dict[str, Weight] = {}
    for name in sorted(set(placed.values())):
        if Path(name).name != name:
            raise StampModelError(f"names {name!r}, which is no file beside it", where=str(folder / INDEX))
        if not (folder / name).is_file():
            raise StampModelError(f"names {name}, which is not there", where=str(folder / INDEX), fix=_AGAIN)
        found |= _tensors(folder / name)
    astray = [name for name, file in placed.items() if name not in found or found[name].file.name != file]
    if astray:
        raise StampModelError(
            f"says that {placed[astray[0]]} holds {astray[0]}, which it does not", where=str(folder / INDEX), fix=_AGAIN
        )
    return found


def read_whole(path: Path) -> bytes:
    """A small file; StampModelError if it is missing, empty or a Git LFS pointer."""
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise StampModelError(f"cannot be read: {fault.strerror}", where=str(path)) from None
    _refuse_pointer(path, data)
    return data


def digest(folder: Path) -> str:
    """Names a model by its weights, however they are spread over files: by name, type and shape of every tensor and by
    4 KiB from the middle of each. Errors as `stored_weights`.
    """
    found = blake3()
    for name, weight in sorted(stored_weights(folder).items()):
        found.update(f"{name} {weight.dtype} {weight.shape}\n".encode())
        found.update(_middle(weight))
    return found.hexdigest(16)


def _middle(weight: Weight) -> bytes:
    skipped = max(weight.size - _SAMPLE, 0) // 2
    with weight.file.open("rb") as file:
        file.seek(weight.start + skipped)
        return file.read(min(weight.size, _SAMPLE))


def _tensors(path: Path) -> dict[str, Weight]:
    """The tensors of a safetensors file: 8 bytes, the length of a header in JSON, the numbers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(len(_LFS))
        _refuse_pointer(path, first)
        length = int.from_bytes(first[:8], "little")
        if size < 8 or length > _MAX_HEADER:
            raise StampModelError("not a safetensors file", where=str(path), fix=_AGAIN)
        file.seek(8)
        header = file.read(length)
    if len(header) < length:
        raise _cut(path, size, 8 + length)
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        found = {name: msgspec.json.decode(entry, type=_Entry) for name, entry in entries.items()}
    except _BROKEN as fault:
        raise StampModelError(f"not a safetensors file: {fault}", where=str(path), fix=_AGAIN) from None
    whole = 8 + length + max((entry.data_offsets[1] for entry in found.values()), default=0)
    if size < whole:
        raise _cut(path, size, whole)
    weights = {}
    for name, entry in found.items():
        begin, end = entry.data_offsets
        weights[name] = Weight(path, entry.dtype, entry.shape, 8 + length + begin, end - begin)
    return weights


def _refuse_pointer(path: Path, first: bytes) -> None:
    if first.startswith(_LFS):
        raise StampModelError("a Git LFS pointer, not the file itself", where=str(path), fix="`git lfs pull`")
    if not first:
        raise StampModelError("an empty file", where=str(path), fix=_AGAIN)


def _cut(path: Path, size: int, whole: int) -> StampModelError:
    return StampModelError(f"cut off: {size:,} of {whole:,} bytes", where=str(path), fix=_AGAIN)


def _no_weights(folder: Path) -> StampModelError:
    others = sorted(file.name for kind in _KINDS for file in folder.glob(kind))
    there = f"; there is {', '.join(others[:3])}" if others else ""
    return StampModelError(
        f"no weights: neither {SINGLE} nor {INDEX}{there}",
        where=str(folder),
        fix="weights are read from safetensors alone",
    )
