"""Networks that begin at random weights, of any shape."""

from __future__ import annotations

from typing import Any

import torch

from stamp_schemas.recipe import Model, Shape
from stamp_train.backbones.modeling import StampModel, model_class
from stamp_train.backbones.presets import preset_config
from stamp_train.backbones.registry import preset_backbone
from stamp_train.methods.contract import Settings


def random_config(model: Model, tokenizer: Any, method: Settings) -> Any:
    """Configuration of a preset with the recipe's shape laid over it; StampModelError if there is no such preset."""
    config = preset_config(model.preset, tokenizer, method)
    return config if model.shape == Shape() else _reshaped(config, model)


def _reshaped(config: Any, model: Model) -> Any:
    values, shape, backbone = config.to_dict(), model.shape, preset_backbone(model.preset)
    text, vision = values["text_config"], values["vision_config"]
    hidden, layers = shape.hidden or text["hidden_size"], shape.layers or text["num_hidden_layers"]
    heads = shape.heads or text["num_attention_heads"]
    angles, half = text["rope_parameters"], hidden // heads // 2
    third = (
        half * angles["mrope_section"][1] // sum(angles["mrope_section"])
    )  # rows and columns turn as much as in the preset
    sections = [half - 2 * third, third, third]
    text |= {
        "vocab_size": max(text["vocab_size"], model.vocabulary),
        "num_hidden_layers": layers,
        "layer_types": ["full_attention"] * layers,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": shape.kv_heads or text["num_key_value_heads"],
        "rope_parameters": {**angles, "rope_theta": shape.rope_theta or 1e4, "mrope_section": sections},
        **({"head_dim": hidden // heads} if "head_dim" in text else {}),
    }
    vision |= {
        "depth": shape.vision_layers or vision["depth"],
        backbone.width: shape.vision_width or vision[backbone.width],
        "num_heads": shape.vision_heads or vision["num_heads"],
        backbone.merged_width: hidden,
    }
    if shape.initializer_range:
        for part in (values, text, vision):
            part["initializer_range"] = shape.initializer_range
    return type(config)(**values)


def build_random(model: Model, tokenizer: Any, method: Settings, seed: int, dtype: torch.dtype) -> StampModel:
    """A network with random weights drawn from a seed."""
    config = random_config(model, tokenizer, method)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: StampModel = model_class(config.model_type)._from_config(config, dtype=dtype)
    return network
