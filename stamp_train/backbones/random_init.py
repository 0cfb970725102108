"""Networks that begin at random weights, of any shape."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2VLConfig

from stamp_schemas.recipe import Model, Shape
from stamp_train.backbones.modeling import StampForQwen2VL
from stamp_train.backbones.presets import preset_config
from stamp_train.methods.contract import Settings


def random_config(model: Model, tokenizer: Any, method: Settings) -> Qwen2VLConfig:
    """Configuration of a preset with the recipe's shape laid over it.

    Raises StampModelError if there is no such preset.
    """
    config = preset_config(model.preset, tokenizer, method)
    return config if model.shape == Shape() else _reshaped(config, model)


def _reshaped(config: Qwen2VLConfig, model: Model) -> Qwen2VLConfig:
    values, shape = config.to_dict(), model.shape
    text, vision = values["text_config"], values["vision_config"]
    hidden, layers = shape.hidden or text["hidden_size"], shape.layers or text["num_hidden_layers"]
    heads = shape.heads or text["num_attention_heads"]
    half, third = (
        hidden // heads // 2,
        hidden // heads * 3 // 16,
    )  # rows and columns turn 3/8 of a head each, as in Qwen2-VL
    sections = [half - 2 * third, third, third]
    text |= {
        "vocab_size": max(text["vocab_size"], model.vocabulary),
        "num_hidden_layers": layers,
        "layer_types": ["full_attention"] * layers,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": shape.kv_heads or text["num_key_value_heads"],
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta or 1e4, "mrope_section": sections},
    }
    vision |= {
        "depth": shape.vision_layers or vision["depth"],
        "embed_dim": shape.vision_width or vision["embed_dim"],
        "num_heads": shape.vision_heads or vision["num_heads"],
        "hidden_size": hidden,
    }
    if shape.initializer_range:
        for part in (values, text, vision):
            part["initializer_range"] = shape.initializer_range
    return Qwen2VLConfig(**values)


def build_random(model: Model, tokenizer: Any, method: Settings, seed: int, dtype: torch.dtype) -> StampForQwen2VL:
    """A network with random weights drawn from a seed."""
    config = random_config(model, tokenizer, method)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: StampForQwen2VL = StampForQwen2VL._from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    return network
