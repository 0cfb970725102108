"""Models with random weights: tiny ones for tests and demonstrations, the released sizes for benchmarks, or of any shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from stamp_schemas.recipe import Model, Shape
from stamp_train.backbones.modeling import StampModel, model_class
from stamp_train.backbones.processor import StampProcessor, make_images
from stamp_train.backbones.registry import preset_backbone
from stamp_train.methods import default_settings, store
from stamp_train.methods.contract import Settings
from stamp_train.sequence.tokens import add_tokens, prepare_rows

# Control tokens of Qwen's tokenizers in the order of their ids.
_QWEN_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip


def byte_tokenizer(method: Settings | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes with Qwen's control tokens and those of a method; needs no file."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens(list(_QWEN_TOKENS), special_tokens=True)
    add_tokens(tokenizer, (method or default_settings()).tokens)
    return tokenizer


def preset_config(name: str, tokenizer: Any, method: Settings | None = None) -> Any:
    """The configuration of a preset, with the control tokens of a tokenizer; StampModelError if there is no such preset."""
    backbone = preset_backbone(name)
    size = backbone.sizes[name]
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _QWEN_TOKENS}
    config = getattr(transformers, backbone.classes[0])(
        text_config={
            **size.text,
            "vocab_size": max(size.text["vocab_size"], len(tokenizer)),
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "tie_word_embeddings": size.tied,
        },
        vision_config={**size.vision, backbone.merged_width: size.text["hidden_size"]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=size.tied,
    )
    store(method or default_settings(), config)
    return config


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
    # Rows and columns turn as much as in the preset.
    third = half * angles["mrope_section"][1] // sum(angles["mrope_section"])
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
    return _drawn(random_config(model, tokenizer, method), seed, dtype)


def build_preset(
    name: str,
    tokenizer: Any | str | Path | None = None,
    *,
    method: Settings | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[StampModel, StampProcessor]:
    """A model with random weights in evaluation mode and its processor (4 to 64 merged patches for tiny ones, else the
    published bounds).

    name: of a preset, see `stamp_train.backbones.registry`; StampModelError if there is none. tokenizer: one, or the folder of
    one; by default bytes. method: and its settings; by default those of new models. seed, dtype, device: of weights.
    """
    if tokenizer is None:
        tokenizer = byte_tokenizer(method)
    elif isinstance(tokenizer, str | Path):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    new_ids = add_tokens(tokenizer, (method or default_settings()).tokens)
    config = preset_config(name, tokenizer, method)
    with torch.device(device):
        model = _drawn(config, seed, dtype)
    prepare_rows(model, new_ids, len(tokenizer) - len(new_ids))
    images = make_images(model.backbone, 4, 64) if name.endswith("tiny") else None
    model.eval()
    return model, StampProcessor(tokenizer, images, model.backbone)


def _drawn(config: Any, seed: int, dtype: torch.dtype) -> StampModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network: StampModel = model_class(config.model_type)._from_config(config, dtype=dtype)
    return network
