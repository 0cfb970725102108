"""Files of codecs: VAR's published `.pth` or the same as safetensors, and fitted codebooks. Nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from stamp_data.writing import write_atomic
from stamp_schemas import StampError, UsageFault
from stamp_train.methods.argenseg.codec import Codec
from stamp_train.methods.argenseg.residual import CELL, ResidualCodec
from stamp_train.methods.argenseg.settings import check_codes
from stamp_train.methods.argenseg.var import VarCodec, shape_of
from stamp_train.sequence.errors import reading

VAR, RESIDUAL = "var", "residual"
_LARGEST = 4 << 30  # bytes; the published file has 0.44e9
_REMEDY = "give VAR's vae_ch160v4096z32.pth, the same as safetensors, or what `stamp-train codes residual` has written"

Weights = Mapping[str, Tensor]


def read_codec(path: Path) -> tuple[dict[str, Any], Weights]:
    """Shape and weights of a codec in a file; the shape holds its `kind` and its `digest`.

    UsageFault: there is no such file. StampError: it is no codec.
    """
    if not path.is_file():
        raise UsageFault(f"{path}: no file of a codec", _REMEDY)
    if path.stat().st_size > _LARGEST:
        raise StampError(f"{path}: {path.stat().st_size:,} bytes, more than any codec has", _REMEDY)
    try:
        with reading(path):
            found, told = _safe(path) if path.suffix == ".safetensors" else (_pickled(path), {})
            scales = tuple(int(side) for side in told.get("scales", "").split(",") if side)
            fitted = told.get("codec") == RESIDUAL
            weights = found if fitted else {name: weight.float() for name, weight in found.items()}
            shape = _residual_shape(found, scales) if fitted else {"kind": VAR, **shape_of(weights, scales)}
            check_codes(shape["scales"], shape["vocabulary"])
            return shape, weights
    except UsageFault:
        raise
    except StampError as fault:
        where = "" if str(path) in fault.message else f"{path}: "
        raise StampError(f"{where}{fault.message}", _REMEDY) from None


def save_residual(codec: ResidualCodec, path: Path) -> None:
    """Write fitted codebooks."""
    told = {"codec": RESIDUAL, "scales": ",".join(map(str, codec.scales.sides))}
    write_atomic(path, save({"books": codec.quantiser.books.bfloat16().contiguous()}, told))


def empty_codec(shape: Mapping[str, Any]) -> Codec:
    """The codec of a network, its numbers zeros that a checkpoint or `fill` overwrites."""
    return ResidualCodec(shape) if shape["kind"] == RESIDUAL else VarCodec(shape)


def open_codec(path: Path, *, encodes: bool = True) -> tuple[Codec, dict[str, Any]]:
    """The codec of a file and its shape; errors as of `read_codec`."""
    shape, weights = read_codec(path)
    codec = ResidualCodec(shape) if shape["kind"] == RESIDUAL else VarCodec(shape, encodes=encodes)
    fill(codec, weights)
    return codec, shape


def fill(codec: Codec, weights: Weights) -> None:
    """Give a codec the weights of a file of its shape."""
    if isinstance(codec, VarCodec):
        codec.load(weights)
    else:
        codec.quantiser.books.copy_(weights["books"])


def _residual_shape(weights: Weights, scales: tuple[int, ...]) -> dict[str, Any]:
    books = weights["books"] if weights.keys() == {"books"} else torch.zeros(0)
    if books.ndim != 3 or len(books) != len(scales) or books.shape[2] != CELL * CELL:
        raise StampError("no codebooks of as many scales as it says")
    if not bool(books.isfinite().all()):
        raise StampError("its codebooks hold numbers that are not finite")
    shape = {"kind": RESIDUAL, "scales": scales, "vocabulary": books.shape[1]}
    return {**shape, "digest": ResidualCodec(shape, books.float()).digest}


def _safe(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118 - no mapping


def _pickled(path: Path) -> dict[str, Tensor]:
    """A dictionary of tensors, read by torch's loader that builds nothing else."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise StampError("no dictionary of tensors")
    if sum(4 * tensor.numel() for tensor in found.values()) > _LARGEST:  # which may be few numbers, repeated
        raise StampError("tensors of more numbers than any codec has")
    return {str(name): tensor for name, tensor in found.items()}
