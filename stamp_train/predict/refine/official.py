"""Official SAM files (`sam_vit_b_01ec64.pth` and its sisters): read safely, their shapes, their names in transformers.

Shapes are read from the weights, not from the file's name, so that a renamed file opens too. What the weights do not show
is as in segment-anything's `build_sam.py`: 8 heads and a downsampling of 2 in the decoder's attention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stamp_train.predict.refine.faults import RefinerFault

DECODER_HEADS = 8
DECODER_EPSILON = 1e-5  # of the decoder's layer norms; transformers' default is 1e-6
State = dict[str, Tensor]


@dataclass(frozen=True)
class SamShape:
    """Sizes of a SAM.

    Attributes:
        image_size, patch_size: pixels of the square input and of a patch.
        hidden, layers, heads, mlp: of the image encoder.
        window: side of its attention windows in patches.
        global_layers: layers that attend to the whole picture.
        width: channels of the image embedding, of prompts and of the mask decoder.
        prior_channels: of the mask prompt's convolutions.
        decoder_layers, decoder_mlp: of the mask decoder.
        multimasks: proposals of the mask decoder, the single one not counted.
        iou_layers, iou_hidden: of the head that predicts IoU.
    """

    image_size: int
    patch_size: int
    hidden: int
    layers: int
    heads: int
    mlp: int
    window: int
    global_layers: tuple[int, ...]
    width: int
    prior_channels: int
    decoder_layers: int
    decoder_mlp: int
    multimasks: int
    iou_layers: int
    iou_hidden: int


def read_official(path: Path) -> State:
    """The weights of an official file; nothing in it is executed.

    Raises:
        RefinerFault: it cannot be read, or is no such file.
    """
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


def shape_of(state: State) -> SamShape:
    """The sizes of an official state dict.

    Raises:
        RefinerFault: weights are missing.
    """
    try:
        _, patches, _, hidden = state["image_encoder.pos_embed"].shape
        patch_size = state["image_encoder.patch_embed.proj.weight"].shape[-1]
        layers = _count(state, r"image_encoder\.blocks\.(\d+)\.")
        distances = [state[f"image_encoder.blocks.{layer}.attn.rel_pos_h"].shape for layer in range(layers)]
        iou = "mask_decoder.iou_prediction_head.layers"
        whole = tuple(layer for layer, (rows, _) in enumerate(distances) if rows == 2 * patches - 1)
        windows = [(rows + 1) // 2 for layer, (rows, _) in enumerate(distances) if layer not in whole]
        return SamShape(
            image_size=patches * patch_size,
            patch_size=patch_size,
            hidden=hidden,
            layers=layers,
            heads=hidden // distances[0][1],
            mlp=len(state["image_encoder.blocks.0.mlp.lin1.bias"]),
            window=windows[0] if windows else patches,
            global_layers=whole,
            width=len(state["image_encoder.neck.0.weight"]),
            prior_channels=len(state["prompt_encoder.mask_downscaling.3.bias"]),
            decoder_layers=_count(state, r"mask_decoder\.transformer\.layers\.(\d+)\."),
            decoder_mlp=len(state["mask_decoder.transformer.layers.0.mlp.lin1.bias"]),
            multimasks=len(state["mask_decoder.mask_tokens.weight"]) - 1,
            iou_layers=_count(state, rf"{re.escape(iou)}\.(\d+)\."),
            iou_hidden=len(state[f"{iou}.0.bias"]),
        )
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
