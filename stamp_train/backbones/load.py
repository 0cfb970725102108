"""Opening checkpoints: strictly, so that no weight is left random without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stamp_train.backbones.base import fetch
from stamp_train.backbones.folder import HEADS, StampModel, model_class, read_config, refuse_misfit
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.environment import unheard
from stamp_train.sequence.errors import reading


def load_checkpoint(path: str | Path, *, dtype: torch.dtype | str = "auto", **options: Any) -> StampModel:
    """Open a STAMP checkpoint, ours or a published one (whose head is `patch` and mask positions `sequential`).

    Args:
        path: a folder or a name on the hub.
        dtype: of the weights; `auto` keeps the stored one.
        options: further arguments of `from_pretrained`.

    Raises:
        UsageFault: there is no such folder.
        StampModelError: a weight is missing, left over or of another shape.
    """
    folder = fetch(str(path))
    return _open(folder, read_config(folder), (), dtype, options)


def start_from(
    path: str | Path, stamp: StampConfig | None = None, *, dtype: torch.dtype | str = "auto", **options: Any
) -> StampModel:
    """Open a base model (Qwen2-VL-Instruct) to become a STAMP one; its mask head begins at random.

    The added tokens are not prepared here: see `stamp_train.sequence.tokens`.

    Args:
        path: a folder or a name on the hub.
        stamp: settings of the mask side; by default those of new models.
        dtype: of the weights; `auto` keeps the stored one.
        options: further arguments of `from_pretrained`.

    Raises:
        UsageFault: there is no such folder.
        StampModelError: a weight other than the head's is missing, left over or of another shape.
    """
    folder = fetch(str(path))
    config = read_config(folder)
    (stamp or StampConfig()).store(config)
    return _open(folder, config, HEADS, dtype, options)


def _open(
    folder: Path, config: Any, may_be_new: tuple[str, ...], dtype: torch.dtype | str, options: dict[str, Any]
) -> StampModel:
    opener: Any = model_class(config.model_type).from_pretrained
    model: StampModel
    # Its report of weights is silenced: what matters of that is refused here, in a line.
    with unheard("transformers.modeling_utils"), reading(folder):
        model, report = opener(folder, config=config, dtype=dtype, output_loading_info=True, **options)
    refuse_misfit(
        folder,
        missing=[key for key in report["missing_keys"] if not key.startswith(may_be_new)],
        unexpected=report["unexpected_keys"],
        shapes=list(map(str, report["mismatched_keys"])),
    )
    return model
