"""Networks that begin at random weights, of any shape, with a tokenizer that knows the words of their data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import AutoTokenizer

from stamp_data.shards.reader import ShardSet
from stamp_schemas.recipe import Model, Recipe, Shape
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import byte_tokenizer, preset_config
from stamp_train.backbones.registry import preset_backbone
from stamp_train.methods.stamp.demo.attention_bias import begin_near, scale_readout
from stamp_train.methods.stamp.demo.patch_classes import categories
from stamp_train.sequence.chat import ASSISTED
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.tokens import add_tokens
from stamp_train.stream.stages import open_set


def scratch_tokenizer(recipe: Recipe) -> Any:
    """The tokenizer that a recipe without pretrained weights names, trains, or falls back to (single bytes)."""
    model = recipe.model
    if model.tokenizer:
        tokenizer = AutoTokenizer.from_pretrained(model.tokenizer)
        add_tokens(tokenizer)
        return tokenizer
    if not model.vocabulary:
        return byte_tokenizer()
    texts = [
        *dict.fromkeys(_texts(recipe)),
        *ASSISTED.frame,
        *ASSISTED.frame,
    ]  # twice: a pair that is seen once is never merged
    start: Any = byte_tokenizer()
    return start.train_new_from_iterator([texts], vocab_size=model.vocabulary, show_progress=False)


def _texts(recipe: Recipe) -> Iterator[str]:
    """Every text of the sets of all stages."""
    for name in dict.fromkeys(use.set for stage in recipe.stages for use in stage.sets):
        with ShardSet(open_set(recipe.data, name)) as records:
            for row in records.rows:
                for dialogue in records.record(row).dialogues:
                    for message in dialogue.messages:
                        yield from (part.text for part in message.content if part.text)


def stamp_config(model: Model, names: Sequence[str] = ()) -> StampConfig:
    """The mask side of a new model. names: that its vision tower learns."""
    return StampConfig(model.head, model.mask_positions, model.head_width, model.head_words, tuple(names))


def scratch_config(model: Model, tokenizer: Any, names: Sequence[str] = ()) -> Any:
    """Configuration of a preset with the recipe's shape laid over it.

    Raises:
        StampModelError: no such preset.
    """
    config = preset_config(model.preset, tokenizer, stamp_config(model, names))
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


def build_scratch(recipe: Recipe, tokenizer: Any, dtype: torch.dtype) -> Any:
    """A network with random weights drawn from the recipe's seed, as `model.scratch` has them."""
    config = scratch_config(recipe.model, tokenizer, categories(recipe) if recipe.naming else ())
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = model_class(config.model_type)._from_config(config, dtype=dtype)
    if recipe.model.scratch.near:
        begin_near(network)
    scale_readout(network, recipe.model.scratch.readout)
    return network
