"""Qwen2-VL, which the published models are built on (Wang et al. 2024): patches of 14 pixels, axes of positions in blocks."""

from __future__ import annotations

from typing import Any

from stamp_train.backbones.contract import Backbone, Size

_VISION = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4}
SHARED: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}


QWEN2_VL = Backbone(
    model_type="qwen2_vl",
    name="Qwen2-VL",
    classes=("Qwen2VLConfig", "Qwen2VLForConditionalGeneration"),
    patch=14,
    sizes={
        "tiny": Size(
            {
                **SHARED, "vocab_size": 384, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192,
                "rope_parameters": {**SHARED["rope_parameters"], "mrope_section": [2, 3, 3]},
            },
            {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2},
            tied=True,
        ),
        "2b": Size(
            {
                **SHARED, "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                "num_attention_heads": 12, "num_key_value_heads": 2,
            },
            _VISION,
            tied=True,
        ),
        "7b": Size(
            {
                **SHARED, "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
                "num_attention_heads": 28, "num_key_value_heads": 4,
            },
            _VISION,
            tied=False,
        ),
    },
    width="embed_dim",
    merged_width="hidden_size",
    rope_keys={"type": "mrope"},
)  # fmt: skip
