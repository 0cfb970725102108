"""What is particular to a family of vision-language models: one description each. Nothing else asks which one it is.

Descriptions name classes of transformers and import them, like torch, only where they are used: planning needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stamp_train.sequence.chat import ASSISTED, ChatLayout
from stamp_train.sequence.document import MERGE

if TYPE_CHECKING:
    from torch import Tensor

    from stamp_train.sequence.inputs import ImageFeatures

_PROJECTIONS = r"language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"


def encode_images(model: Any, pixels: Tensor, grids: Tensor) -> ImageFeatures:
    """Run the tower of a model of transformers over pixels, float [patches, numbers] by merge block; grids: int64 [I, 3]."""
    import torch

    from stamp_train.sequence.inputs import ImageFeatures

    found = model.model.get_image_features(pixels, grids, return_dict=True)
    layers = getattr(found, "deepstack_features", None) or ()
    return ImageFeatures(
        torch.cat(found.pooler_output),
        found.last_hidden_state.unflatten(0, (-1, MERGE**2)),
        # A tensor per image or, in the first versions, one of all: transformers 5.10 has not cut these as it has the merged.
        tuple(layer if isinstance(layer, torch.Tensor) else torch.cat(layer) for layer in layers),
    )


@dataclass(frozen=True)
class Size:
    """A size of a family, by the keys of config.json that are its own. tied: embeddings and output matrix are one."""

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    tied: bool


@dataclass(frozen=True)
class Backbone:
    """A family of models.

    model_type: of config.json. name: as the hub's names of released models begin. classes: of configuration and model, by
    their names in transformers; published weights have the names that transformers knows for the latter. patch: side in
    pixels of what the vision tower reads. sizes: by the names of `model.preset`. width: the key of the tower's width in
    `vision_config`; merged_width: of the language model's. encode: (model, pixels [patches, numbers], grids [images, 3]) to
    features. image_options: of the image processor, where they differ from Qwen2-VL's. adapted: pattern of the modules that
    LoRA adapts. rope_keys: what transformers 4.57 wants to be told of rotary angles beside what 5 writes.
    """

    model_type: str
    name: str
    classes: tuple[str, str]
    patch: int
    sizes: Mapping[str, Size]
    width: str
    merged_width: str
    encode: Callable[[Any, Tensor, Tensor], ImageFeatures] = encode_images
    chat: ChatLayout = ASSISTED
    image_options: Mapping[str, Any] = field(default_factory=dict)
    adapted: str = _PROJECTIONS
    rope_keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def factor(self) -> int:
        """Side in pixels of a merged patch, which is one token."""
        return MERGE * self.patch

    def vision_width(self, config: Any) -> int:
        """Width of the vision tower of a configuration of this family."""
        return int(getattr(config.vision_config, self.width))
