"""Opening checkpoints: strictly, so that no weight is left random without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from stamp_train.model.config import StampConfig
from stamp_train.model.errors import StampModelError
from stamp_train.model.modeling import StampForQwen2_5VL, StampForQwen2VL

StampModel = StampForQwen2VL | StampForQwen2_5VL

MODEL_CLASSES: dict[str, type[StampForQwen2VL] | type[StampForQwen2_5VL]] = {
    "qwen2_vl": StampForQwen2VL,
    "qwen2_5_vl": StampForQwen2_5VL,
}


def model_class(model_type: str) -> type[StampForQwen2VL] | type[StampForQwen2_5VL]:
    """The class for a `model_type` of config.json.

    Raises:
        StampModelError: STAMP is not built on that family.
    """
    if model_type not in MODEL_CLASSES:
        raise StampModelError(
            f"model type {model_type!r} is not supported", fix=f"Use one of {', '.join(MODEL_CLASSES)}"
        )
    return MODEL_CLASSES[model_type]


def load_checkpoint(path: str | Path, *, dtype: torch.dtype | str = "auto", **options: Any) -> StampModel:
    """Open a STAMP checkpoint, ours or a published one (whose head is `patch` and mask positions `sequential`).

    Args:
        path: a folder or a name on the hub.
        dtype: of the weights; `auto` keeps the stored one.
        options: further arguments of `from_pretrained`.

    Raises:
        StampModelError: a weight is missing, left over or of another shape.
    """
    return _open(path, AutoConfig.from_pretrained(path), (), dtype, options)


def start_from(
    path: str | Path, stamp: StampConfig | None = None, *, dtype: torch.dtype | str = "auto", **options: Any
) -> StampModel:
    """Open a base model (Qwen2-VL-Instruct) to become a STAMP one; its mask head begins at random.

    The added tokens are not prepared here: see `stamp_train.model.tokens`.

    Args:
        path: a folder or a name on the hub.
        stamp: settings of the mask side; by default those of new models.
        dtype: of the weights; `auto` keeps the stored one.
        options: further arguments of `from_pretrained`.

    Raises:
        StampModelError: a weight other than the head's is missing, left over or of another shape.
    """
    config = AutoConfig.from_pretrained(path)
    (stamp or StampConfig()).store(config)
    return _open(path, config, ("classifier.",), dtype, options)


def _open(
    path: str | Path, config: Any, may_be_new: tuple[str, ...], dtype: torch.dtype | str, options: dict[str, Any]
) -> StampModel:
    opener: Any = model_class(config.model_type).from_pretrained
    # transformers 5.10 reads the flag of published files into the text part only, and ties by that of the whole.
    config.tie_word_embeddings = config.text_config.tie_word_embeddings
    model: StampModel
    model, report = opener(path, config=config, dtype=dtype, output_loading_info=True, **options)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(may_be_new or ("\0",)))
    faults = {
        "missing": missing,
        "unexpected": sorted(report["unexpected_keys"]),
        "of another shape": sorted(str(key) for key in report["mismatched_keys"]),
    }
    found = "; ".join(f"{len(keys)} {kind} ({', '.join(keys[:3])})" for kind, keys in faults.items() if keys)
    if found:
        raise StampModelError(
            f"weights do not fit the model: {found}",
            where=str(path),
            fix="A base model without a mask head is opened with start_from",
        )
    return model
