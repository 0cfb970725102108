"""A SAM 2 of 120,000 random weights, of the image model alone or with the memory that released folders have."""

from typing import Any

import torch
from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

from .tiny_sam import loud

SIDE = 128
BACKBONE = {
    "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1, "image_size": [SIDE, SIDE],
    "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 4],
    "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [4, 4],
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "vision_config": {
        "backbone_config": BACKBONE, "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]], "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 8},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 40, "iou_head_hidden_dim": 24, "num_attention_heads": 2},
}  # fmt: skip


def tiny_sam2(seed: int = 0) -> Any:
    torch.manual_seed(seed)  # the positions' random frequencies are no parameters
    return loud(Sam2Model(Sam2Config(**SETTINGS)), seed)


def tiny_sam2_with_memory(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return loud(Sam2VideoModel(Sam2VideoConfig(**SETTINGS)), seed)
