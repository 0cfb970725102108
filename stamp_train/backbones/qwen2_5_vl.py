"""Qwen2.5-VL (Bai et al. 2025): as Qwen2-VL, with a tower that attends within windows."""

from __future__ import annotations

from typing import Any

from stamp_train.backbones.contract import Backbone, Size, encode_images
from stamp_train.backbones.qwen2_vl import QWEN2_VL, SHARED

_VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
_LONGER = {"max_position_embeddings": 128000}


def _encode(model: Any, pixels: Any, grids: Any) -> Any:
    """The tower leaves its last layer in the order of its windows, and puts back the merged rows alone."""
    from dataclasses import replace

    from transformers.vision_utils import get_vision_window_index

    found, vision = encode_images(model, pixels, grids), model.config.vision_config
    order, _ = get_vision_window_index(grids, vision.spatial_merge_size, vision.window_size, vision.patch_size)
    return replace(found, patches=found.patches[order.argsort().to(found.patches.device)])


QWEN2_5_VL = Backbone(
    model_type="qwen2_5_vl",
    name="Qwen2.5-VL",
    classes=("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration"),
    patch=14,
    sizes={
        "qwen2.5-tiny": Size(
            QWEN2_VL.sizes["tiny"].text,
            {
                "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "window_size": 56,
                "fullatt_block_indexes": [1],
            },
            tied=True,
        ),
        "qwen2.5-3b": Size(
            {
                **SHARED, **_LONGER, "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008,
                "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
            },
            _VISION,
            tied=True,
        ),
        "qwen2.5-7b": Size({**QWEN2_VL.sizes["7b"].text, **_LONGER}, _VISION, tied=False),
    },
    width="hidden_size",
    merged_width="out_hidden_size",
    encode=_encode,
    rope_keys={"type": "mrope"},
)  # fmt: skip
