"""Adapters worked into the weights that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open

from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.base import Base, check_base, fetch, read_base
from stamp_train.backbones.folder import StampModel, check_folder, read_config
from stamp_train.backbones.load import start_from
from stamp_train.backbones.lora import WEIGHTS, load_adapter, merge_adapter
from stamp_train.backbones.processor import StampProcessor, open_images, open_tokenizer
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.errors import reading
from stamp_train.sequence.tokens import add_tokens, prepare_rows
from stamp_train.train.folder import ADAPTER, RECIPE, run_folder

_EMBEDDINGS = "embed_tokens.weight"


def open_adapter(folder: Path, base: str = "") -> tuple[StampModel, StampProcessor]:
    """The adapter of a run's checkpoint, or one that comes by itself, such as the published 7B one, worked into its base model.

    base: folder or hub name of that model, where the adapter does not know it or it has moved. Tokenizer and image processor
    are the base model's where the folder has none. StampError if there is no base model, it is another than the adapter was
    trained on or does not fit, or the adapter is a part of something.
    """
    adapter = folder / ADAPTER.parent if (folder / ADAPTER).is_file() else folder
    known = read_base(adapter)
    if adapter == folder and known:
        raise StampError(f"{folder}: only a part of a run's checkpoint", f"give {folder.parent}, or the run's folder")
    if adapter != folder and not (known and known.dtype):
        return _by_recipe(folder, known, base)
    start = _base_of(adapter, known, base)
    tokenizer = open_tokenizer(start)
    new_ids = add_tokens(tokenizer)
    config = read_config(start)
    if known and known.stamp:
        config.stamp = known.stamp
    model: Any = start_from(start, StampConfig.of(config), dtype=getattr(torch, known.dtype) if known else "auto")
    prepare_rows(model, new_ids, len(tokenizer) - len(new_ids))
    with reading(adapter):
        rows = _embedding_rows(adapter)
        if rows:  # the published code cuts the matrices down to the tokenizer's length
            model.resize_token_embeddings(rows, mean_resizing=False)
        merged: Any = merge_adapter(load_adapter(model, adapter, trainable=known is not None))
    tokenizer = open_tokenizer(_which(folder, start, "tokenizer.json"))
    add_tokens(tokenizer)
    processor = StampProcessor(tokenizer, open_images(_which(folder, start, "preprocessor_config.json")))
    return merged.to(getattr(torch, known.dtype)) if known else merged, processor


def _base_of(adapter: Path, known: Base | None, base: str) -> Path:
    """The folder of an adapter's base model, looked through."""
    if known is None:
        if not base:
            raise StampError(
                f"{adapter}: an adapter without its model", "--base FOLDER names the model it was trained on"
            )
        start = fetch(base)
        check_folder(start)
        return start
    try:
        start = fetch(base or known.start)
        check_folder(start)
    except StampError as fault:
        kind = UsageFault if isinstance(fault, UsageFault) else StampError
        hint = "--base FOLDER names the model that the run began with"
        raise kind(f"{adapter.parent}: its base model: {fault.message}", hint) from None
    check_base(adapter, start)
    return start


def _by_recipe(folder: Path, known: Base | None, base: str) -> tuple[StampModel, StampProcessor]:
    """Where what it goes on is told by the run's recipe alone: random weights, and older checkpoints."""
    from stamp_train.recipes import resolve
    from stamp_train.train.network import build_network

    run = run_folder(folder)
    if run is None:
        raise StampError(f"{folder}: an adapter away from its run", f"leave it in the run's folder, beside {RECIPE}")
    recipe = resolve(str(run / RECIPE)).recipe
    if start := base or (known.start if known else ""):
        recipe = msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, start=start, preset=""))
    network, processor = build_network(recipe, folder)
    model: Any = merge_adapter(network)
    return model.to(torch.bfloat16) if recipe.model.precision == "bf16" else model, processor


def _which(folder: Path, base: Path, name: str) -> Path:
    return folder if (folder / name).is_file() else base


def _embedding_rows(folder: Path) -> int:
    """Rows of the embeddings that an adapter holds in full; 0 if it holds none."""
    with safe_open(folder / WEIGHTS, "pt") as weights:
        names = [name for name in weights.keys() if name.endswith(_EMBEDDINGS)]  # noqa: SIM118 - not a dictionary
        return int(weights.get_slice(names[0]).get_shape()[0]) if names else 0
