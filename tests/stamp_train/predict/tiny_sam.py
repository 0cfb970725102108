"""A SAM of 90,000 random weights, as a Hugging Face folder and under the official names; pictures and masks for it."""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import SamConfig, SamModel

IMAGE_SIZE, PRIOR_SIDE = 128, 32
# Left: names in segment-anything; right: in transformers.
_NAMES = {
    "image_encoder.": "vision_encoder.",
    "patch_embed.proj.": "patch_embed.projection.",
    "encoder.blocks.": "encoder.layers.",
    "neck.0.": "neck.conv1.",
    "neck.1.": "neck.layer_norm1.",
    "neck.2.": "neck.conv2.",
    "neck.3.": "neck.layer_norm2.",
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "shared_image_embedding.positional_embedding",
    "prompt_encoder.point_embeddings.": "prompt_encoder.point_embed.",
    "mask_downscaling.0.": "mask_embed.conv1.",
    "mask_downscaling.1.": "mask_embed.layer_norm1.",
    "mask_downscaling.3.": "mask_embed.conv2.",
    "mask_downscaling.4.": "mask_embed.layer_norm2.",
    "mask_downscaling.6.": "mask_embed.conv3.",
    "output_upscaling.0.": "upscale_conv1.",
    "output_upscaling.1.": "upscale_layer_norm.",
    "output_upscaling.3.": "upscale_conv2.",
    "layers.0.weight": "proj_in.weight",
    "layers.0.bias": "proj_in.bias",
    "layers.2.weight": "proj_out.weight",
    "layers.2.bias": "proj_out.bias",
    "norm_final_attn.": "layer_norm_final_attn.",
}


def tiny_sam(seed: int = 0) -> Any:
    """With SAM's own proportions where they matter: windows that do not divide the picture, one layer that sees it all."""
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "window_size": 3,
            "image_size": IMAGE_SIZE, "patch_size": 16, "global_attn_indexes": [1], "num_pos_feats": 16, "mlp_dim": 48,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": IMAGE_SIZE, "patch_size": 16, "mask_input_channels": 8},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 40, "iou_head_hidden_dim": 24, "layer_norm_eps": 1e-5},
    )  # fmt: skip
    return loud(SamModel(config), seed)


def loud(model: Any, seed: int) -> Any:
    """Random weights: transformers' own start is so near 0 that every mask comes out alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                weight.copy_(0.1 * noise + ("norm" in name and name.endswith("weight")))
            else:
                weight.copy_(noise if "embed" in name or "rel_pos" in name else noise * weight[0].numel() ** -0.5)
    return model.eval()


def official_state(model: SamModel) -> dict[str, Tensor]:
    """The weights under segment-anything's names."""
    state = {}
    for key, value in model.state_dict().items():
        if key == "prompt_encoder.shared_embedding.positional_embedding":
            continue  # the same matrix once more
        small_head = "iou_prediction_head" in key or "hypernetworks" in key
        if small_head:
            key = key.replace("layers.0.", "layers.1.")
        for official, ours in _NAMES.items():
            if official.startswith("layers.") and not small_head:
                continue
            key = key.replace(ours, official)
        state[key.replace("layer_norm", "norm")] = value.clone()
    return state


def official_file(model: SamModel, path: Path) -> Path:
    torch.save(official_state(model), path)
    return path


def packaged(state: dict[str, Tensor]) -> Any:
    """The segment-anything package's own model with the weights of `tiny_sam`; its builders know the released sizes only."""
    package = import_module("segment_anything.modeling")
    sam = package.Sam(
        image_encoder=package.ImageEncoderViT(
            depth=2, embed_dim=32, img_size=IMAGE_SIZE, mlp_ratio=1.5, norm_layer=partial(nn.LayerNorm, eps=1e-6), num_heads=2,
            patch_size=16, qkv_bias=True, use_rel_pos=True, global_attn_indexes=(1,), window_size=3, out_chans=32,
        ),
        prompt_encoder=package.PromptEncoder(
            embed_dim=32, image_embedding_size=(8, 8), input_image_size=(IMAGE_SIZE, IMAGE_SIZE), mask_in_chans=8
        ),
        mask_decoder=package.MaskDecoder(
            num_multimask_outputs=3, transformer_dim=32, iou_head_depth=3, iou_head_hidden_dim=24,
            transformer=package.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=40, num_heads=8),
        ),
    ).eval()  # fmt: skip
    sam.load_state_dict(state)
    return sam


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def coarse(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    """A logit picture with a disc in it, soft at its outline and noisy."""
    y, x = np.mgrid[:rows, :columns]
    radius = min(rows, columns) / 3
    distance = np.hypot(y - 0.4 * rows, x - 0.6 * columns)
    noise = np.random.default_rng(seed).normal(0, 0.3, (rows, columns))
    return (3 * (radius - distance) / radius + noise).astype(np.float32)
