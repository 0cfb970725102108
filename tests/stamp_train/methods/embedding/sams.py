"""A SAM of no size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import SamConfig, SamModel

_SIZES = {"hidden_size": 16, "image_size": 64, "patch_size": 16}
SHAPE: dict[str, Any] = {
    "vision_config": {
        **_SIZES,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_pos_feats": 8,
        "mlp_dim": 32,
        "window_size": 2,
        "global_attn_indexes": [1],
    },
    "prompt_encoder_config": {**_SIZES, "image_embedding_size": 4},
    "mask_decoder_config": {
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    },
}


def write_sam(folder: Path) -> Path:
    """A random one in transformers' layout."""
    torch.manual_seed(3)
    SamModel(SamConfig(**SHAPE)).save_pretrained(folder)
    return folder
