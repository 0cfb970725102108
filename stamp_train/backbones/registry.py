"""The families of models that there are, and how a file, a recipe or a name on the hub says which one it means."""

from __future__ import annotations

import re
from pathlib import Path

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Model
from stamp_train.backbones.contract import Backbone
from stamp_train.backbones.qwen2_5_vl import QWEN2_5_VL
from stamp_train.backbones.qwen2_vl import QWEN2_VL
from stamp_train.backbones.qwen3_vl import QWEN3_VL
from stamp_train.sequence.errors import StampModelError

BACKBONES = {one.model_type: one for one in (QWEN2_VL, QWEN2_5_VL, QWEN3_VL)}
PRESETS = {name: one for one in BACKBONES.values() for name in one.sizes}


def backbone_of(model_type: str) -> Backbone:
    """The family of a `model_type` of config.json; StampModelError if nothing is built on that one."""
    if model_type not in BACKBONES:
        raise StampModelError(
            f"model type {model_type[:60]!r} is not supported", fix=f"use one of {', '.join(BACKBONES)}"
        )
    return BACKBONES[model_type]


def preset_backbone(name: str) -> Backbone:
    """The family of a preset; StampModelError if there is none."""
    if name not in PRESETS:
        raise StampModelError(f"no preset {name!r}", fix=f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def released(start: str) -> str:
    """The preset of the size of a released model of that name; "" if it is none."""
    for name, backbone in PRESETS.items():
        size = name.rpartition("-")[2]
        if re.search(rf"{re.escape(backbone.name)}-{size}(?![a-z0-9])", start, re.IGNORECASE):
            return name
    return ""


def recipe_backbone(model: Model) -> Backbone:
    """The family that a recipe trains: by its preset, by the configuration of its start or, where that is not on this machine,
    by its name. Where nothing says it, Qwen2-VL is assumed: whoever opens the start will say what is wrong with it."""
    from stamp_train.backbones.base import find
    from stamp_train.backbones.folder import read_told

    if model.preset:
        return preset_backbone(model.preset)
    known = released(model.start)
    if known and not Path(model.start).expanduser().is_dir():
        return PRESETS[known]  # without asking the hub's cache, which takes a second
    try:
        folder = find(model.start)
    except UsageFault:
        return QWEN2_VL
    return QWEN2_VL if folder is None else backbone_of(read_told(folder).model_type)
