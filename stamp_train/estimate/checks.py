"""What would keep a recipe from running here, found without downloading, loading or writing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from stamp_data.shards.manifest import read_manifest
from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Model, Recipe
from stamp_train.attention.select import check_training
from stamp_train.backbones.base import check_reachable, find
from stamp_train.backbones.folder import check_tokenizer
from stamp_train.backbones.load import check_folder
from stamp_train.backbones.lora import check_style
from stamp_train.backbones.registry import released
from stamp_train.estimate.architecture import configuration
from stamp_train.stream.stages import open_set, told_root


def check_recipe(recipe: Recipe) -> None:
    """Look at every path of a recipe, and at what it asks of the model and of this machine.

    StampError: names everything that is at fault, with a remedy for each. UsageFault, if all of it is.
    """
    if faults := list(_faults(recipe)):
        kind = UsageFault if all(isinstance(fault, UsageFault) for fault in faults) else StampError
        if len(hints := {fault.hint for fault in faults}) == 1:  # told once
            raise kind("; ".join(fault.message for fault in faults), *hints)
        raise kind("; ".join(map(str, faults)))


def _faults(recipe: Recipe) -> Iterator[StampError]:
    used = [use.set for stage in recipe.stages for use in stage.sets] + list(recipe.evaluation.sets)
    for name in dict.fromkeys(used):
        yield from _told("", partial(_check_set, recipe, name))
    model = recipe.model
    if model.start:
        yield from _told("model.start", lambda: _check_start(model.start, check_folder))
    if model.tokenizer:
        yield from _told("model.tokenizer", lambda: _check_start(model.tokenizer, check_tokenizer))
    if model.tuning == "lora":
        yield from _told("model.lora.style", lambda: _check_lora(recipe))
    yield from _told("model.attention", lambda: check_attention(model))


def _told(key: str, check: Callable[[], object]) -> Iterator[StampError]:
    """The fault that a check raises, under the key that it is about."""
    try:
        check()
    except StampError as fault:
        kind = UsageFault if isinstance(fault, UsageFault) else StampError
        yield kind(f"{key}: {fault.message}" if key else fault.message, fault.hint)


def _check_set(recipe: Recipe, name: str) -> None:
    with told_root(recipe.data):
        read_manifest(open_set(recipe.data, name))


def _check_start(start: str, look: Callable[[Path], None]) -> None:
    folder = find(start)
    if folder is not None:
        return look(folder)
    try:
        check_reachable(start)
    except StampError as fault:
        size = released(start)
        more = f"; --set model.start= --set model.preset={size} reckons without it" if size else ""
        raise StampError(fault.message, fault.hint + more) from None


def _check_lora(recipe: Recipe) -> None:
    try:
        tied = configuration(recipe).tie_word_embeddings
    except StampError:
        return  # what is wrong with the start is told under its own key
    check_style(recipe.model.lora.style, tied=tied)


def check_attention(model: Model) -> None:
    """Refuse an attention backend with which nothing can be trained here.

    StampModelError: it is not there, or has no backward pass.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_training(model.attention, device, torch.bfloat16 if model.precision == "bf16" else torch.float32)
