"""Adapters worked into the weights that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open

from stamp_schemas import StampError
from stamp_train.backbones.base import fetch, read_base
from stamp_train.backbones.load import check_folder, read_config, start_from
from stamp_train.backbones.lora import load_adapter, merge_adapter
from stamp_train.backbones.modeling import StampModel
from stamp_train.backbones.processor import StampProcessor, open_images, open_tokenizer
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.errors import reading
from stamp_train.sequence.tokens import add_tokens
from stamp_train.train.folder import ADAPTER, RECIPE, run_folder

_WEIGHTS, _EMBEDDINGS = "adapter_model.safetensors", "embed_tokens.weight"


def of_run(folder: Path, base: str = "") -> tuple[StampModel, StampProcessor]:
    """A LoRA checkpoint of a run: the weights that the run began with, and the adapter worked into them.

    base: where those weights are, if not where they were.

    Raises:
        StampError: it does not lie in its run, or those weights are gone or others.
    """
    from stamp_train.recipes import resolve
    from stamp_train.train.network import build_network

    run = run_folder(folder)
    if run is None:
        raise StampError(f"{folder}: an adapter away from its run", f"leave it in the run's folder, beside {RECIPE}")
    recipe = resolve(str(run / RECIPE)).recipe
    known = read_base(folder / ADAPTER.parent)
    if start := base or (known.start if known else ""):
        recipe = msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, start=start, preset=""))
    network, processor = build_network(recipe, folder)
    model: Any = merge_adapter(network)
    if recipe.model.precision == "bf16":
        model = model.to(torch.bfloat16)  # as the run's own finished model has it
    return model, processor


def on_base(folder: Path, base: str) -> tuple[StampModel, StampProcessor]:
    """An adapter that comes by itself, such as the published 7B one, worked into its base model.

    Args:
        folder: of the adapter, as peft writes it; tokenizer and image processor are the base model's where it has none.
        base: folder or hub name of the base model.

    Raises:
        StampError: no base model is given, or the adapter is a part of something.
        StampModelError: adapter and base model do not fit.
    """
    if read_base(folder):
        raise StampError(f"{folder}: only a part of a run's checkpoint", f"give {folder.parent}, or the run's folder")
    if not base:
        raise StampError(f"{folder}: an adapter without its model", "--base FOLDER names the model it was trained on")
    start = fetch(base)
    check_folder(start)
    tokenizer = open_tokenizer(_which(folder, start, "tokenizer.json"))
    add_tokens(tokenizer)
    model: Any = start_from(start, StampConfig.of(read_config(start)))
    images = open_images(_which(folder, start, "preprocessor_config.json"), model.backbone)
    backbone = model.backbone
    with reading(folder):
        rows = _embedding_rows(folder)
        if rows:  # the published code cuts the matrices down to the tokenizer's length
            model.resize_token_embeddings(rows, mean_resizing=False)
        merged: StampModel = merge_adapter(load_adapter(model, folder))
    return merged, StampProcessor(tokenizer, images, backbone)


def _which(folder: Path, base: Path, name: str) -> Path:
    return folder if (folder / name).is_file() else base


def _embedding_rows(folder: Path) -> int:
    """Rows of the embeddings that an adapter holds in full; 0 if it holds none."""
    with safe_open(folder / _WEIGHTS, "pt") as weights:
        names = [name for name in weights.keys() if name.endswith(_EMBEDDINGS)]  # noqa: SIM118 - not a dictionary
        return int(weights.get_slice(names[0]).get_shape()[0]) if names else 0
