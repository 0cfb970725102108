"""Qwen3-VL (Bai et al. 2025): patches of 16 pixels with learned places, axes of positions in turn, no default system line.

Three layers inside the tower have mergers of their own, whose features the language model gets after its first three layers
(Meng et al., "DeepStack", 2024).
"""

from __future__ import annotations

from typing import Any

from stamp_train.backbones.contract import Backbone, Size
from stamp_train.sequence.chat import ChatLayout

_TEXT: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "vocab_size": 151936,
    "max_position_embeddings": 262144,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
_VISION: dict[str, Any] = {"num_heads": 16, "num_position_embeddings": 2304}
_SMALL = {
    **_VISION,
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
_LARGE = {
    **_VISION,
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}


QWEN3_VL = Backbone(
    model_type="qwen3_vl",
    name="Qwen3-VL",
    classes=("Qwen3VLConfig", "Qwen3VLForConditionalGeneration"),
    patch=16,
    sizes={
        "qwen3-tiny": Size(
            {
                **_TEXT, "vocab_size": 384, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 8192,
                "rope_parameters": {**_TEXT["rope_parameters"], "mrope_section": [4, 2, 2]},
            },
            {
                "depth": 4, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0, 1, 2],
            },
            tied=True,
        ),
        "qwen3-2b": Size(
            {**_TEXT, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
            _SMALL,
            tied=True,
        ),
        "qwen3-4b": Size(
            {**_TEXT, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
            _SMALL,
            tied=True,
        ),
        "qwen3-8b": Size(
            {**_TEXT, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
            _LARGE,
            tied=False,
        ),
    },
    width="hidden_size",
    merged_width="out_hidden_size",
    chat=ChatLayout(),
    image_options={"patch_size": 16, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
)  # fmt: skip
