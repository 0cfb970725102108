"""Whether the folder of a model is whole and fits itself, before anything is loaded from it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from transformers import AutoConfig

from stamp_train.backbones.modeling import StampForQwen2_5VL, StampForQwen2VL, name_in_model
from stamp_train.backbones.weights import read_whole, stored_weights
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.environment import unheard
from stamp_train.sequence.errors import StampModelError, reading

StampModel = StampForQwen2VL | StampForQwen2_5VL
CONFIG, TOKENIZER, PREPROCESSOR = "config.json", "tokenizer.json", "preprocessor_config.json"
_VOCABULARY = ("vocab.json", "merges.txt")  # what Qwen's tokenizer can be built of, too
HEADS = ("classifier.", "namer.")  # of weights that a base model lacks

MODEL_CLASSES: dict[str, type[StampForQwen2VL] | type[StampForQwen2_5VL]] = {
    "qwen2_vl": StampForQwen2VL,
    "qwen2_5_vl": StampForQwen2_5VL,
}


_Layers = Annotated[int, msgspec.Meta(ge=0, le=1000)]  # of which each takes time and room before a weight is looked at


class _Text(msgspec.Struct):
    num_hidden_layers: _Layers = 0


class _Vision(msgspec.Struct):
    depth: _Layers = 0


class _Config(msgspec.Struct):
    """What config.json says before transformers reads it."""

    model_type: str = ""
    quantization_config: dict[str, Any] | None = None
    num_hidden_layers: _Layers = 0
    text_config: _Text | None = None
    vision_config: _Vision | None = None


def model_class(model_type: str) -> type[StampForQwen2VL] | type[StampForQwen2_5VL]:
    """The class for a `model_type` of config.json.

    Raises:
        StampModelError: STAMP is not built on that family.
    """
    if model_type not in MODEL_CLASSES:
        raise StampModelError(
            f"model type {model_type[:60]!r} is not supported", fix=f"use one of {', '.join(MODEL_CLASSES)}"
        )
    return MODEL_CLASSES[model_type]


def read_config(folder: str | Path) -> Any:
    """The configuration of a model's folder, flat as on the hub or nested as transformers 5 writes it.

    Raises:
        StampModelError: there is none, it is damaged, or of a family that STAMP is not built on.
    """
    path = Path(folder, CONFIG)
    if not path.is_file():
        inner = [str(found.parent) for found in Path(folder).glob(f"*/{CONFIG}")]
        raise StampModelError(f"no {CONFIG}", where=str(folder), fix=f"use {inner[0]}" if inner else None)
    try:
        told = msgspec.json.decode(read_whole(path), type=_Config)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise StampModelError(f"not a configuration: {fault}", where=str(path)) from None
    try:
        model_class(told.model_type)
    except StampModelError as fault:
        raise StampModelError(fault.message, where=str(path), fix=fault.hint) from None
    if told.quantization_config:
        method = told.quantization_config.get("quant_method", "")
        raise StampModelError(
            f"its weights are quantised ({method})", where=str(path), fix="use the model it was made of"
        )
    with unheard("transformers.modeling_rope_utils"):  # older versions miss a check for what newer ones write
        config = _tried(path, lambda: AutoConfig.from_pretrained(folder))
    # Where files say it in one of the two places, versions of transformers read it in one or the other.
    tied = bool(config.tie_word_embeddings or getattr(config.text_config, "tie_word_embeddings", False))
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    return config


def outline(config: Any) -> StampModel:
    """The model of a configuration without numbers (torch's meta device).

    Raises:
        StampModelError: no model can be built so.
    """
    with torch.device("meta"):
        build: Any = model_class(config.model_type)._from_config
        model: StampModel = build(config, dtype=torch.float32)
        return model


def has_head(folder: Path) -> bool:
    """Whether a mask head is among the weights: a base model has none.

    Raises:
        StampModelError: as `stored_weights`.
    """
    return any(name.startswith(HEADS[0]) for name in stored_weights(folder))


def check_folder(folder: Path) -> None:
    """Look at everything that opening a STAMP or base model needs, without loading a weight.

    Raises:
        StampModelError: says what is missing, damaged, or does not fit.
    """
    config = read_config(folder)
    check_tokenizer(folder)
    check_json(folder / PREPROCESSOR)
    check_weights(folder, config)


def check_tokenizer(folder: Path) -> None:
    """Look whether a tokenizer is there.

    Raises:
        StampModelError: it is not, or is damaged.
    """
    if (folder / TOKENIZER).is_file():
        return check_json(folder / TOKENIZER)
    if all((folder / name).is_file() for name in _VOCABULARY):
        read_whole(folder / _VOCABULARY[1])
        return check_json(folder / _VOCABULARY[0])
    raise StampModelError(f"no tokenizer: neither {TOKENIZER} nor {' and '.join(_VOCABULARY)}", where=str(folder))


def check_json(path: Path) -> None:
    """Look whether a file is there and JSON.

    Raises:
        StampModelError: it is not.
    """
    try:
        msgspec.json.decode(read_whole(path))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise StampModelError(f"damaged: {fault}", where=str(path)) from None


def check_weights(folder: Path, config: Any) -> None:
    """Compare the headers of the weight files with a configuration.

    Raises:
        StampModelError: weights are missing, left over, of another shape, or damaged.
    """
    base = getattr(config, "stamp", None) is None and not has_head(folder)
    StampConfig.of(config).store(config)
    model = _tried(folder / CONFIG, lambda: outline(config))
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    found = {name_in_model(name): weight.shape for name, weight in stored_weights(folder).items()}
    may_lack = [name for name in wanted if base and name.startswith(HEADS)]
    if config.tie_word_embeddings:
        may_lack.append("lm_head.weight")
    refuse_misfit(
        folder,
        missing=wanted.keys() - found.keys() - set(may_lack),
        unexpected=found.keys() - wanted.keys(),
        shapes=[
            f"{name} {list(found[name])}, not {list(wanted[name])}"
            for name in wanted
            if name in found and found[name] != wanted[name]
        ],
    )


def refuse_misfit(
    where: str | Path, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]
) -> None:
    """Raise if there is anything in these lists of weights.

    Raises:
        StampModelError: counts them, and names some.
    """
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    told = "; ".join(f"{len(keys)} {kind} ({', '.join(sorted(keys)[:3])})" for kind, keys in kinds.items() if keys)
    if told:
        raise StampModelError(
            f"weights do not fit the model: {told}",
            where=str(where),
            fix="a base model without a mask head is opened with start_from",
        )


def _tried(path: Path, call: Callable[[], Any]) -> Any:
    """What transformers makes of a configuration, whose many exceptions for a bad one become ours."""
    with reading(path):
        try:
            return call()
        except StampModelError as fault:
            raise StampModelError(fault.message, where=str(path), fix=fault.hint) from None
