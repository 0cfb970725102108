"""Models with random weights: a tiny one for tests and demonstrations, the released sizes for benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stamp_train.backbones.modeling import StampForQwen2VL
from stamp_train.backbones.processor import StampProcessor
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.tokens import add_tokens, prepare_rows

# Control tokens of Qwen2-VL in the order of their ids.
_QWEN_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip

# Shapes of config.json of Qwen2-VL-2B-Instruct and 7B-Instruct; the tiny one has their proportions.
_TEXT: dict[str, dict[str, Any]] = {
    "tiny": {"vocab_size": 384, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": 8192, "mrope_section": [2, 3, 3], "tied": True},
    "2b": {"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
           "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 32768,
           "mrope_section": [16, 24, 24], "tied": True},
    "7b": {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
           "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32768,
           "mrope_section": [16, 24, 24], "tied": False},
}  # fmt: skip
_VISION: dict[str, dict[str, Any]] = {
    "tiny": {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2},
    "2b": {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4},
    "7b": {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4},
}
PRESETS = tuple(_TEXT)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes with Qwen2-VL's control tokens and the four added ones; needs no file."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens(list(_QWEN_TOKENS), special_tokens=True)
    add_tokens(tokenizer)
    return tokenizer


def preset_config(name: str, tokenizer: Any, stamp: StampConfig | None = None) -> Qwen2VLConfig:
    """The configuration of a preset, with the control tokens of a tokenizer.

    Raises:
        StampModelError: no such preset.
    """
    if name not in PRESETS:
        raise StampModelError(f"no preset {name!r}", fix=f"choose one of {', '.join(PRESETS)}")
    text = dict(_TEXT[name])
    tied, section = text.pop("tied"), text.pop("mrope_section")
    text["vocab_size"] = max(text["vocab_size"], len(tokenizer))
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _QWEN_TOKENS}
    config = Qwen2VLConfig(
        text_config={
            **text,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": section},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "tie_word_embeddings": tied,
        },
        vision_config={**_VISION[name], "hidden_size": text["hidden_size"]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )
    (stamp or StampConfig()).store(config)
    return config


def build_preset(
    name: str,
    tokenizer: Any | str | Path | None = None,
    *,
    stamp: StampConfig | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[StampForQwen2VL, StampProcessor]:
    """A model with random weights and its processor.

    Args:
        name: `tiny`, `2b` or `7b`.
        tokenizer: a tokenizer or the folder of one; by default bytes.
        stamp: settings of the mask side; by default those of new models.
        seed: of the weights.
        dtype: of the weights.
        device: where the weights are made.

    Returns:
        The model in evaluation mode, and a processor (4 to 64 merged patches for `tiny`, else the published bounds).

    Raises:
        StampModelError: no such preset.
    """
    if tokenizer is None:
        tokenizer = byte_tokenizer()
    elif isinstance(tokenizer, str | Path):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    new_ids = add_tokens(tokenizer)
    config = preset_config(name, tokenizer, stamp)
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        model: StampForQwen2VL = StampForQwen2VL._from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    prepare_rows(model, new_ids, len(tokenizer) - len(new_ids))
    images = Qwen2VLImageProcessorPil(min_pixels=4 * 784, max_pixels=64 * 784) if name == "tiny" else None
    model.eval()  # type: ignore[no-untyped-call]
    return model, StampProcessor(tokenizer, images)
