"""The model: transformers' Qwen2-VL (or 2.5) that also reads masks out of a packed sequence."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration
from transformers import initialization as init
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.vision_utils import get_vision_window_index

from stamp_train.attention import ATTENTION_NAME, make_plan, register
from stamp_train.methods.stamp.heads import WordsOfPlace, head_class, patches_to_grid
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import MaskBlock, StampInputs

register()


@dataclass(frozen=True)
class ImageFeatures:
    """What the vision tower says of all images of a sequence, N merged patches in all, row by row per image.

    Attributes:
        merged: [N, H], what the language model gets.
        patches: [N, 4, E], the last layer before the 2x2 merge: upper left, upper right, lower left, lower right.
    """

    merged: Tensor
    patches: Tensor


@dataclass(frozen=True)
class StampOutput:
    """Result of a packed forward pass.

    Attributes:
        text_logits: [T, V], for the next token after each of `inputs.text_rows`.
        mask_logits: [M, side * side], for each mask token, row by row within its patch.
        blocks: the mask blocks, in order.
        backend: name of the attention backend that ran.
        name_logits: [4 N, names], for each 14-pixel patch of all images as the vision tower has them; None without names.
        early_mask_logits: as `mask_logits`, had the language model ended a layer earlier; None if not asked for.
    """

    text_logits: Tensor
    mask_logits: Tensor
    blocks: tuple[MaskBlock, ...]
    backend: str
    name_logits: Tensor | None = None
    early_mask_logits: Tensor | None = None

    def mask_grids(self) -> list[Tensor]:
        """One logit picture [height * side, width * side] for each `<|seg|>`."""
        parts = torch.split(self.mask_logits, [block.size for block in self.blocks])
        return [patches_to_grid(logits, block.grid) for logits, block in zip(parts, self.blocks, strict=True)]


def vision_width(config: Any) -> int:
    """Width of the vision tower: Qwen2-VL calls it embed_dim, Qwen2.5-VL hidden_size."""
    vision = config.vision_config
    return int(getattr(vision, "embed_dim", None) or vision.hidden_size)


class _StampMixin:
    """What STAMP adds to a Qwen2-VL for conditional generation: a readout, and a forward pass over packed sequences."""

    # Provided by the transformers class that this is mixed into.
    config: Any
    model: Any
    lm_head: nn.Module
    training: bool

    def __init__(self, config: Any) -> None:
        self._check_config(config)
        super().__init__(config)  # type: ignore[call-arg]
        self.stamp_config = StampConfig.of(config)
        self.classifier = head_class(self.stamp_config.head)(
            config.text_config.hidden_size, vision_width(config), self.stamp_config
        )
        if self.stamp_config.names:
            width = vision_width(config)
            self.namer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(self.stamp_config.names)))
        self.model.language_model.set_attn_implementation(ATTENTION_NAME)
        self.post_init()  # type: ignore[attr-defined]

    @staticmethod
    def _check_config(config: Any) -> None:
        asked = config.text_config._attn_implementation
        if asked not in (None, "sdpa", "eager", ATTENTION_NAME):
            raise StampModelError(
                f"attn_implementation={asked!r} for the language model would drop the mask of packed sequences silently",
                fix=f'leave it out, or pass {{"text_config": "{ATTENTION_NAME}", "vision_config": ...}}, and choose the '
                "backend in forward(attention=...)",
            )
        if any(kind != "full_attention" for kind in config.text_config.layer_types):
            raise StampModelError("the language model has sliding-window layers", fix="set use_sliding_window to false")

    def set_attn_implementation(self, attn_implementation: str | dict[str, str], **kwargs: Any) -> None:
        """As in transformers, but for the vision tower only: the language model keeps its own.

        Raises:
            StampModelError: another implementation is asked for the language model.
        """
        if not isinstance(attn_implementation, dict):
            attn_implementation = {"text_config": attn_implementation}
        asked = attn_implementation.get("text_config", ATTENTION_NAME)
        if asked != ATTENTION_NAME:
            raise StampModelError(
                f"attn_implementation={asked!r} for the language model would drop the mask of packed sequences silently",
                fix='set only {"vision_config": ...}, and choose the backend in forward(attention=...)',
            )
        vision = attn_implementation.get("vision_config")
        if vision is not None:
            self.model.visual.set_attn_implementation(vision, **kwargs)

    def forward(
        self,
        *args: Any,
        inputs: StampInputs | None = None,
        attention: str = "auto",
        early: bool = False,
        **kwargs: Any,
    ) -> Any:
        """One pass over a packed sequence; without `inputs`, the forward pass of transformers' own class.

        Args:
            inputs: the packed sequence, on the model's device.
            attention: backend, see `stamp_train.attention.BACKENDS`.
            early: read masks from the last layer but one too.

        Returns:
            StampOutput.

        Raises:
            StampModelError: a backend that is not there.
        """
        if inputs is None:
            return super().forward(*args, **kwargs)  # type: ignore[misc]
        features = self.image_features(inputs)
        embeds = self.embed(inputs, features)
        device = embeds.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else embeds.dtype
        plan = make_plan(inputs.structure, attention, dtype)
        found = self.model.language_model(
            inputs_embeds=embeds,
            position_ids=inputs.position_ids,
            attention_mask={"full_attention": plan},
            use_cache=False,
            output_hidden_states=early,
        )
        states = found.last_hidden_state[0]
        feature_rows = inputs.feature_rows[inputs.mask_rows]

        def masks(of: Tensor) -> Tensor:
            return self.read_masks(of[inputs.mask_rows], features, feature_rows, inputs.blocks)

        return StampOutput(
            text_logits=self.lm_head(states[inputs.text_rows]),
            mask_logits=masks(states),
            blocks=inputs.blocks,
            backend=plan.name,
            name_logits=self.namer(features.patches.flatten(0, 1)) if self.stamp_config.names else None,
            early_mask_logits=masks(self.model.language_model.norm(found.hidden_states[-2][0])) if early else None,
        )

    def image_features(self, inputs: StampInputs) -> ImageFeatures:
        """Run the vision tower once over all images of a sequence.

        While training, a sequence without an image runs it over one blank patch: under sharded training every rank
        has to take part in every layer, or the others wait for ever. No token takes its feature,
        so the tower's gradients are zero.
        """
        pixels, grid = inputs.pixel_values, inputs.image_grid_thw
        if pixels is None or grid is None:
            vision = self.config.vision_config
            size = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
            merge, device = vision.spatial_merge_size, inputs.input_ids.device
            if not self.training:
                return self._no_images(device)
            pixels = torch.zeros(merge**2, size, device=device)
            grid = torch.tensor([[1, merge, merge]], device=device)
        return self.encode_images(pixels, grid)

    def _no_images(self, device: torch.device) -> ImageFeatures:
        merged, patches = (0, self.config.text_config.hidden_size), (0, 4, vision_width(self.config))
        return ImageFeatures(torch.zeros(merged, device=device), torch.zeros(patches, device=device))

    def encode_images(self, pixel_values: Tensor, image_grid_thw: Tensor) -> ImageFeatures:
        """Run the vision tower.

        Args:
            pixel_values: float [patches, channels * time * 14 * 14], grouped by merge block as Qwen2-VL does.
            image_grid_thw: int64 [I, 3].
        """
        found = self.model.get_image_features(pixel_values, image_grid_thw, return_dict=True)
        patches = found.last_hidden_state.unflatten(0, (-1, 4))
        if hasattr(self.config.vision_config, "window_size"):
            # Qwen2.5-VL leaves its last layer in the order of its attention windows; only the merged rows are put back.
            vision = self.config.vision_config
            order, _ = get_vision_window_index(
                image_grid_thw, vision.spatial_merge_size, vision.window_size, vision.patch_size
            )
            patches = patches[order.argsort().to(patches.device)]
        return ImageFeatures(torch.cat(found.pooler_output), patches)

    def embed(self, inputs: StampInputs, features: ImageFeatures) -> Tensor:
        """Embeddings [1, L, H]: an image placeholder becomes its feature, a mask token is embedding plus feature."""
        embeds: Tensor = self.model.language_model.embed_tokens(inputs.input_ids)[0]
        rows = inputs.feature_rows
        with_feature = rows >= 0
        taken = features.merged[rows[with_feature]].to(embeds.dtype)
        is_mask = (inputs.structure.block > 0)[with_feature].unsqueeze(-1)
        embeds = embeds.index_put(
            (with_feature.nonzero()[:, 0],), torch.where(is_mask, embeds[with_feature] + taken, taken)
        )
        return embeds[None]

    def read_masks(
        self, states: Tensor, features: ImageFeatures, feature_rows: Tensor, blocks: Sequence[MaskBlock]
    ) -> Tensor:
        """Mask logits [M, side * side] from final states [M, H] of mask tokens and the feature row of each."""
        vision = features.patches[feature_rows].to(states.dtype) if self.classifier.needs_vision else None
        told = [self.embed_words(blocks)] if self.classifier.needs_words else []
        logits: Tensor = self.classifier(states, vision, [block.grid for block in blocks], *told)
        return logits

    def embed_words(self, blocks: Sequence[MaskBlock]) -> Tensor:
        """Mean embeddings [blocks, H] of the words before each; zero where there are none."""
        table = self.model.language_model.embed_tokens
        ids = torch.tensor([token for block in blocks for token in block.words], dtype=torch.int64)
        found: Tensor = table(ids.to(table.weight.device))
        if not blocks:
            return found  # of no words, but of the table: sharded training wants every weight to take part
        parts = torch.split(found, [len(block.words) for block in blocks])
        return torch.stack([part.sum(0) / max(len(part), 1) for part in parts])

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]  # of the transformers class that this is mixed into
        if isinstance(module, WordsOfPlace):
            init.zeros_(module.place.weight)  # no place is preferred before anything is learned


class StampForQwen2VL(_StampMixin, Qwen2VLForConditionalGeneration):  # type: ignore[misc,no-untyped-call]
    """STAMP on Qwen2-VL, the published architecture."""


class StampForQwen2_5VL(_StampMixin, Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc,no-untyped-call]  # noqa: N801
    """STAMP on Qwen2.5-VL."""


def _name_parameters(forward: Any, *theirs: Any) -> None:
    """Let `forward` show the parameters that it passes on: transformers' `generate` gives it only what it names."""
    ours = inspect.signature(forward).parameters
    named = {name: found for their in theirs for name, found in inspect.signature(their).parameters.items()}
    together = {**named, **ours}
    kept = [found for found in together.values() if found.kind is not inspect.Parameter.VAR_POSITIONAL]
    forward.__signature__ = inspect.Signature(sorted(kept, key=lambda found: found.kind))


_name_parameters(
    _StampMixin.forward, Qwen2_5_VLForConditionalGeneration.forward, Qwen2VLForConditionalGeneration.forward
)

# Published files name the tower `visual` and the language model `model`; transformers renames that for its own classes by
# their name (one mapping for both), and would leave a subclass with random weights and a warning.
_MAPPING = get_checkpoint_conversion_mapping("Qwen2VLForConditionalGeneration")  # type: ignore[no-untyped-call]
for _ours in (StampForQwen2VL, StampForQwen2_5VL):
    register_checkpoint_conversion_mapping(_ours.__name__, _MAPPING, overwrite=True)


def name_in_model(stored: str) -> str:
    """The name in the model of a weight of a published file, or of one that says it as the model does."""
    for renaming in _MAPPING or ():
        stored = renaming.rename_source_key(stored)[0]
    return stored
