"""SAM as the segment-anything package has it, where that is installed. It needs torchvision, and nothing else here does."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stamp_train.predict.refine.faults import HOW_TO_GET_WEIGHTS, RefinerFault, on_one_line
from stamp_train.predict.refine.official import DECODER_HEADS, SamShape, read_official, shape_of


class PackageSam:
    """A `Network` over the package's `Sam`.

    Args:
        sam: in evaluation mode.
    """

    def __init__(self, sam: Any) -> None:
        self._sam = sam
        self.image_size: int = sam.image_encoder.img_size
        self.prior_side: int = sam.prompt_encoder.mask_input_size[0]

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """See `Network`."""
        embedding: Tensor = self._sam.image_encoder(pixels.to(self._sam.device))
        return embedding

    @torch.inference_mode()
    def predict(
        self, embedding: Tensor, priors: Tensor, points: Tensor, labels: Tensor, boxes: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Network`."""
        device = self._sam.device
        sparse, dense = self._sam.prompt_encoder(
            points=(points.to(device), labels.to(device)) if points.shape[1] else None,
            boxes=None if boxes is None else boxes.to(device),
            masks=priors[:, None].to(device),
        )
        low, iou = self._sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=self._sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return low.float().cpu(), iou.float().cpu()


def open_package_sam(path: str, device: torch.device) -> PackageSam:
    """A SAM from an official `.pth` file.

    Raises:
        RefinerFault: the package cannot be imported, there is no such file, or its weights do not fit.
    """
    try:
        package = import_module("segment_anything.modeling")
    except ImportError as error:
        raise RefinerFault(
            f"the segment-anything package cannot be imported: {error}", f"sam:{path} reads the same file without it"
        ) from error
    if not Path(path).is_file():
        raise RefinerFault("no SAM weights there: no such file", HOW_TO_GET_WEIGHTS)
    state = read_official(Path(path))
    sam = _build(package, shape_of(state))
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise RefinerFault(f"the weights do not fit a SAM: {on_one_line(error)}") from error
    return PackageSam(sam.to(device).eval())


def _build(package: Any, shape: SamShape) -> Any:
    """The package's model; its own builders know the three released sizes only."""
    patches = shape.image_size // shape.patch_size
    return package.Sam(
        image_encoder=package.ImageEncoderViT(
            depth=shape.layers,
            embed_dim=shape.hidden,
            img_size=shape.image_size,
            mlp_ratio=shape.mlp / shape.hidden,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=shape.heads,
            patch_size=shape.patch_size,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=shape.global_layers,
            window_size=shape.window,
            out_chans=shape.width,
        ),
        prompt_encoder=package.PromptEncoder(
            embed_dim=shape.width,
            image_embedding_size=(patches, patches),
            input_image_size=(shape.image_size, shape.image_size),
            mask_in_chans=shape.prior_channels,
        ),
        mask_decoder=package.MaskDecoder(
            num_multimask_outputs=shape.multimasks,
            transformer=package.TwoWayTransformer(
                depth=shape.decoder_layers,
                embedding_dim=shape.width,
                mlp_dim=shape.decoder_mlp,
                num_heads=DECODER_HEADS,
            ),
            transformer_dim=shape.width,
            iou_head_depth=shape.iou_layers,
            iou_head_hidden_dim=shape.iou_hidden,
        ),
    )
