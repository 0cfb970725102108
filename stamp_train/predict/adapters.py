"""Adapters worked into the weights that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open

from stamp_schemas import StampError
from stamp_train.backbones.base import Base, fetch, read_base
from stamp_train.backbones.load import check_folder, open_adapted, read_config, start_from
from stamp_train.backbones.lora import WEIGHTS, load_adapter, merge_adapter
from stamp_train.backbones.modeling import StampModel
from stamp_train.backbones.processor import StampProcessor, open_images, open_tokenizer
from stamp_train.methods import settings_of
from stamp_train.sequence.errors import reading
from stamp_train.sequence.tokens import add_tokens, prepare_rows
from stamp_train.train.folder import ADAPTER, RECIPE, run_folder

_EMBEDDINGS = "embed_tokens.weight"


def open_adapter(folder: Path, base: str = "") -> tuple[StampModel, StampProcessor]:
    """The adapter of a run's checkpoint, or one that comes by itself, such as the published 7B one, worked into its base model.

    base: folder or hub name of that model, where the adapter does not know it or it has moved. StampError if there is no base
    model, it is another than the adapter was trained on or does not fit, or the adapter is a part of something.
    """
    if not (folder / ADAPTER).is_file():
        return _by_itself(folder, base)
    known = read_base(folder / ADAPTER.parent)
    if known is None or known.stamp is None:
        return _by_recipe(folder, known, base)
    model = open_adapted(folder / ADAPTER.parent, base)
    return model, StampProcessor.from_pretrained(folder, model.backbone)


def _by_itself(folder: Path, base: str) -> tuple[StampModel, StampProcessor]:
    """As peft writes it; tokenizer and image processor are the base model's where it has none."""
    if read_base(folder):
        raise StampError(f"{folder}: only a part of a run's checkpoint", f"give {folder.parent}, or the run's folder")
    if not base:
        raise StampError(f"{folder}: an adapter without its model", "--base FOLDER names the model it was trained on")
    start = fetch(base)
    check_folder(start)
    tokenizer = open_tokenizer(_which(folder, start, "tokenizer.json"))
    method = settings_of(read_config(start))
    new_ids = add_tokens(tokenizer, method.tokens)
    model: Any = start_from(start, method)
    prepare_rows(model, new_ids, len(tokenizer) - len(new_ids))
    images = open_images(_which(folder, start, "preprocessor_config.json"), model.backbone)
    backbone = model.backbone
    with reading(folder):
        rows = _embedding_rows(folder)
        if rows:  # the published code cuts the matrices down to the tokenizer's length
            model.resize_token_embeddings(rows, mean_resizing=False)
        merged: StampModel = merge_adapter(load_adapter(model, folder))
    return merged, StampProcessor(tokenizer, images, backbone)


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
