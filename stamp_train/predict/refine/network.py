"""SAM as transformers has it: a Hugging Face folder, or an official file under other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from blake3 import blake3
from safetensors import SafetensorError
from torch import Tensor

from stamp_train.predict.refine.faults import HOW_TO_GET_WEIGHTS, RefinerFault, on_one_line
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.official import read_official, sam_settings, to_transformers
from stamp_train.sequence.environment import hide_broken_torchvision

hide_broken_torchvision()
from transformers import AutoConfig, SamConfig, SamModel  # noqa: E402 - only once torchvision cannot break it

_ELSEWHERE = ("_name_or_path", "architectures", "dtype")  # of a configuration: says nothing of what a model sees


class Sam:
    """A SAM over transformers' model in evaluation mode: a picture is looked at once, and asked about as often as one likes.

    image_size: pixels of the square input; prior_side: cells of the square of mask prompts and of its answers. shapes: of what
    `embed` gives.
    """

    def __init__(self, model: Any) -> None:
        self.model, config = model, model.config
        side = config.prompt_encoder_config.image_embedding_size
        self.image_size: int = config.vision_config.image_size
        self.prior_side: int = 4 * side
        self.shapes: tuple[tuple[int, ...], ...] = ((1, config.vision_config.output_channels, side, side),)

    def digest(self) -> str:
        """BLAKE3, hex, of the model's weights, of the settings of its vision tower, and of the library's version: of all that
        decides what it sees in a picture. Neither the place that it was read from nor its device are in it.
        """
        digest = blake3(msgspec.json.encode(_plain(self.model.config.vision_config.to_dict()), order="sorted"))
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def frame(self, height: int, width: int) -> Frame:
        """Where a picture of that size lies in the square."""
        return Frame(height, width, self.image_size, self.prior_side)

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> list[Tensor]:
        """Embeddings, float [1, C, h, w] on the network's device, of what `Frame.pixels` makes of a picture: SAM has one."""
        found = self.model.get_image_embeddings(pixels.to(self.model.device))
        return [found] if isinstance(found, Tensor) else list(found)

    @torch.inference_mode()
    def predict(
        self,
        embeddings: Sequence[Tensor],
        priors: Tensor | None,
        points: Tensor,
        labels: Tensor,
        boxes: Tensor | None,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks for B prompts about one picture, on the CPU: logits, float32 [B, 1 or 3, prior_side, prior_side], and predicted
        IoU, float32 [B, 1 or 3].

        priors: logits, float32 [B, prior_side, prior_side], or None. points: float32 [B, n, 2], (x, y) in the input's pixels;
        labels: int64 [B, n], 1 inside, 0 outside. boxes: float32 [B, 4], (x, y) of two corners, or None. multimask: three masks
        each.
        """
        device = self.model.device
        # Prompts go along the batch dimension: transformers would add the mask prompts of one image's prompts all to one
        # embedding if they were given along that of its points.
        each = [one.to(device).expand(len(points), -1, -1, -1) for one in embeddings]
        output = self.model(
            image_embeddings=each if len(self.shapes) > 1 else each[0],
            input_points=points[:, None].to(device) if points.shape[1] else None,
            input_labels=labels[:, None].to(device) if points.shape[1] else None,
            input_boxes=None if boxes is None else boxes[:, None].to(device),
            input_masks=None if priors is None else priors[:, None].to(device),
            multimask_output=multimask,
        )
        return output.pred_masks[:, 0].float().cpu(), output.iou_scores[:, 0].float().cpu()


def _plain(settings: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): _plain(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in _ELSEWHERE
    }


def open_sam(path: str, device: torch.device) -> Sam:
    """A SAM from an official `.pth` file, a Hugging Face folder, or a model already in the Hugging Face cache; RefinerFault if
    there are no weights, or they do not fit."""
    model = _from_official(Path(path)) if Path(path).is_file() else _from_folder(path)
    return Sam(model.to(device).eval())


def _from_official(path: Path) -> Any:
    state = read_official(path)
    settings: dict[str, Any] = sam_settings(state)
    with torch.device("meta"):
        model: Any = SamModel(SamConfig(**settings))
    try:
        # The names that transformers ties are both in the table; assigning keeps the file's dtype.
        model.load_state_dict(to_transformers(state), assign=True)
    except RuntimeError as error:
        raise RefinerFault(f"the weights do not fit a SAM: {on_one_line(error)}") from error
    return model.float()


def _from_folder(path: str) -> Any:
    config = settings_of(path)
    if config.model_type != "sam":
        raise RefinerFault(f"holds a model of type {config.model_type!r}, not 'sam'", HOW_TO_GET_WEIGHTS)
    return weights_of(SamModel, path, config)


def settings_of(path: str) -> Any:
    """The configuration in a Hugging Face folder, or of a model in its cache; RefinerFault if there is none."""
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:  # no folder, nothing in the cache, or no configuration in it
        there = "the folder has no config.json that can be read"
        nothing = "no such file or folder, and no such model in the Hugging Face cache"
        reason = there if Path(path).is_dir() else nothing
        raise RefinerFault(f"no SAM weights there: {reason}", HOW_TO_GET_WEIGHTS) from error


def weights_of(kind: Any, path: str, config: Any) -> Any:
    """A model of class `kind` and of that configuration from the same place, in float32. RefinerFault if they do not fit."""
    try:
        model, report = kind.from_pretrained(path, config=config, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RefinerFault(f"no SAM weights there: {on_one_line(error)}", HOW_TO_GET_WEIGHTS) from error
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"], *map(str, report["mismatched_keys"])})
    if wrong:
        raise RefinerFault(f"{len(wrong)} weights do not fit a SAM ({', '.join(wrong[:3])})", HOW_TO_GET_WEIGHTS)
    return model.float()
