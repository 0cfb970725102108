"""SAM as transformers has it: a Hugging Face folder, or an official file under other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stamp_train.predict.refine.faults import HOW_TO_GET_WEIGHTS, RefinerFault, on_one_line
from stamp_train.predict.refine.official import (
    DECODER_EPSILON,
    DECODER_HEADS,
    SamShape,
    read_official,
    shape_of,
    to_transformers,
)
from stamp_train.sequence.environment import hide_broken_torchvision

hide_broken_torchvision()
from transformers import AutoConfig, SamConfig, SamModel  # noqa: E402 - only once torchvision cannot break it


class TransformersSam:
    """A `Network` over `SamModel`.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.image_size: int = model.config.vision_config.image_size
        self.prior_side: int = 4 * model.config.prompt_encoder_config.image_embedding_size

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """See `Network`."""
        embedding: Tensor = self._model.get_image_embeddings(pixels.to(self._model.device))
        return embedding

    @torch.inference_mode()
    def predict(
        self, embedding: Tensor, priors: Tensor, points: Tensor, labels: Tensor, boxes: Tensor | None, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Network`."""
        device = self._model.device
        # Prompts go along the batch dimension: transformers would add the mask prompts of one image's prompts all to one
        # embedding if they were given along that of its points.
        output = self._model(
            image_embeddings=embedding.expand(len(priors), -1, -1, -1),
            input_points=points[:, None].to(device) if points.shape[1] else None,
            input_labels=labels[:, None].to(device) if points.shape[1] else None,
            input_boxes=None if boxes is None else boxes[:, None].to(device),
            input_masks=priors[:, None].to(device),
            multimask_output=multimask,
        )
        return output.pred_masks[:, 0].float().cpu(), output.iou_scores[:, 0].float().cpu()


def open_transformers_sam(path: str, device: torch.device) -> TransformersSam:
    """A SAM from an official `.pth` file, a Hugging Face folder, or a model already in the Hugging Face cache.

    Raises:
        RefinerFault: there are no weights, or they do not fit.
    """
    model = _from_official(Path(path)) if Path(path).is_file() else _from_folder(path)
    return TransformersSam(model.to(device).eval())


def _from_official(path: Path) -> Any:
    state = read_official(path)
    with torch.device("meta"):
        model: Any = SamModel(sam_config(shape_of(state)))
    try:
        # The names that transformers ties are both in the table; assigning keeps the file's dtype.
        model.load_state_dict(to_transformers(state), assign=True)
    except RuntimeError as error:
        raise RefinerFault(f"the weights do not fit a SAM: {on_one_line(error)}") from error
    return model.float()


def sam_config(shape: SamShape) -> Any:
    """The configuration of `SamModel` for an official state dict."""
    return SamConfig(
        vision_config={
            "hidden_size": shape.hidden,
            "output_channels": shape.width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "image_size": shape.image_size,
            "patch_size": shape.patch_size,
            "window_size": shape.window,
            "global_attn_indexes": list(shape.global_layers),
            "num_pos_feats": shape.width // 2,
            "mlp_dim": shape.mlp,
        },
        prompt_encoder_config={
            "hidden_size": shape.width,
            "image_size": shape.image_size,
            "patch_size": shape.patch_size,
            "mask_input_channels": shape.prior_channels,
        },
        mask_decoder_config={
            "hidden_size": shape.width,
            "mlp_dim": shape.decoder_mlp,
            "num_hidden_layers": shape.decoder_layers,
            "num_attention_heads": DECODER_HEADS,
            "num_multimask_outputs": shape.multimasks,
            "iou_head_depth": shape.iou_layers,
            "iou_head_hidden_dim": shape.iou_hidden,
            "layer_norm_eps": DECODER_EPSILON,
        },
    )


def _from_folder(path: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:  # no folder, nothing in the cache, or no configuration in it
        there = "the folder has no config.json that can be read"
        nothing = "no such file or folder, and no such model in the Hugging Face cache"
        reason = there if Path(path).is_dir() else nothing
        raise RefinerFault(f"no SAM weights there: {reason}", HOW_TO_GET_WEIGHTS) from error
    if config.model_type != "sam":
        raise RefinerFault(f"holds a model of type {config.model_type!r}, not 'sam'", HOW_TO_GET_WEIGHTS)
    opener: Any = SamModel.from_pretrained
    model, report = opener(path, config=config, local_files_only=True, output_loading_info=True)
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])})
    if wrong:
        raise RefinerFault(f"{len(wrong)} weights do not fit a SAM ({', '.join(wrong[:3])})", HOW_TO_GET_WEIGHTS)
    return model.float()
