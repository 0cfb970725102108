"""Official SAM files (`sam_vit_b_01ec64.pth` and its sisters): read safely, their sizes and their names in transformers.

Sizes are read from the weights, not from the file's name, so that a renamed file opens too. What the weights do not show is as
in segment-anything's `build_sam.py`: 8 heads and a downsampling of 2 in the decoder's attention.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stamp_train.predict.refine.faults import RefinerFault

State = dict[str, Tensor]
_DECODER_HEADS = 8
_DECODER_EPSILON = 1e-5  # of the decoder's layer norms; transformers' default is 1e-6


def read_official(path: Path) -> State:
    """The weights of an official file; nothing in it is executed. RefinerFault if it cannot be read or is no such file."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a foreign file: whatever it provokes
        # torch's own text advises to load it unsafely.
        raise RefinerFault(f"cannot be read as a table of tensors ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RefinerFault("holds no table of tensors")
    if "image_encoder.pos_embed" not in state or "image_encoder.blocks.0.attn.rel_pos_h" not in state:
        raise RefinerFault("these are not the weights of a SAM with a ViT")
    return state


def sam_settings(state: State) -> dict[str, Any]:
    """What transformers' `SamConfig` takes for an official state dict. RefinerFault if weights are missing."""
    try:
        _, patches, _, hidden = state["image_encoder.pos_embed"].shape
        patch_size = state["image_encoder.patch_embed.proj.weight"].shape[-1]
        layers = _count(state, r"image_encoder\.blocks\.(\d+)\.")
        distances = [state[f"image_encoder.blocks.{layer}.attn.rel_pos_h"].shape for layer in range(layers)]
        # Those that see all of the picture.
        whole = [layer for layer, (rows, _) in enumerate(distances) if rows == 2 * patches - 1]
        windows = [(rows + 1) // 2 for layer, (rows, _) in enumerate(distances) if layer not in whole]
        width = len(state["image_encoder.neck.0.weight"])  # channels of the embedding, of prompts and of the decoder
        iou = "mask_decoder.iou_prediction_head.layers"
        return {
            "vision_config": {
                "hidden_size": hidden,
                "output_channels": width,
                "num_hidden_layers": layers,
                "num_attention_heads": hidden // distances[0][1],
                "image_size": patches * patch_size,
                "patch_size": patch_size,
                "window_size": windows[0] if windows else patches,
                "global_attn_indexes": whole,
                "num_pos_feats": width // 2,
                "mlp_dim": len(state["image_encoder.blocks.0.mlp.lin1.bias"]),
            },
            "prompt_encoder_config": {
                "hidden_size": width,
                "image_size": patches * patch_size,
                "patch_size": patch_size,
                "mask_input_channels": len(state["prompt_encoder.mask_downscaling.3.bias"]),
            },
            "mask_decoder_config": {
                "hidden_size": width,
                "mlp_dim": len(state["mask_decoder.transformer.layers.0.mlp.lin1.bias"]),
                "num_hidden_layers": _count(state, r"mask_decoder\.transformer\.layers\.(\d+)\."),
                "num_attention_heads": _DECODER_HEADS,
                "num_multimask_outputs": len(state["mask_decoder.mask_tokens.weight"]) - 1,
                "iou_head_depth": _count(state, rf"{re.escape(iou)}\.(\d+)\."),
                "iou_head_hidden_dim": len(state[f"{iou}.0.bias"]),
                "layer_norm_eps": _DECODER_EPSILON,
            },
        }
    except KeyError as missing:
        raise RefinerFault(f"the SAM weights lack {missing.args[0]}") from missing


def _count(state: State, pattern: str) -> int:
    return 1 + max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=-1)


_RENAMES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^vision_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^vision_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^vision_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^vision_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
)
_POSITIONS = "shared_image_embedding.positional_embedding"


def to_transformers(state: State) -> State:
    """An official state dict under the names of transformers' `SamModel`."""
    renamed = {}
    for key, value in state.items():
        name = _rename_head(key, state)
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    if _POSITIONS in renamed:  # one matrix, which transformers names twice
        renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[_POSITIONS]
    return renamed


def _rename_head(key: str, state: State) -> str:
    """Layers 0, 1..n-2, n-1 of the decoder's small heads are proj_in, layers.0.., proj_out in transformers."""
    found = re.match(r"(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+)\.)layers\.(\d+)\.", key)
    if not found:
        return key
    head, layer = found[1], int(found[2])
    last = _count(state, rf"{re.escape(head)}layers\.(\d+)\.") - 1
    name = {0: "proj_in.", last: "proj_out."}.get(layer, f"layers.{layer - 1}.")
    return f"{head}{name}{key[found.end() :]}"
