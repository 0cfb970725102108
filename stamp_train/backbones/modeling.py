"""The model: transformers' Qwen2-VL (or 2.5) that also reads masks out of a packed sequence."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.core_model_loading import WeightRenaming
from transformers.vision_utils import get_vision_window_index

from stamp_train.attention import ATTENTION_NAME, make_plan, register
from stamp_train.backbones.pictures import pictures
from stamp_train.methods import RENAMED, settings_of
from stamp_train.methods.readout import Readout
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures, MaskPlace, Outputs, Reading, StampInputs

register()


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
        self.method = settings_of(config).method()
        self.classifier = self.method.readout(config.text_config.hidden_size, vision_width(config))
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
        **kwargs: Any,
    ) -> Any:
        """One pass over a packed sequence; without `inputs`, the forward pass of transformers' own class.

        Args:
            inputs: the packed sequence, on the model's device.
            attention: backend, see `stamp_train.attention.BACKENDS`.

        Returns:
            Outputs.

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
        earlier = self.training and bool(self.classifier.wants_earlier)
        found = self.model.language_model(
            inputs_embeds=embeds,
            position_ids=inputs.position_ids,
            attention_mask={"full_attention": plan},
            use_cache=False,
            output_hidden_states=earlier,
        )
        states = found.last_hidden_state[0]
        before = found.hidden_states[-2][0][inputs.mask_rows] if earlier else None
        return Outputs(
            text_logits=self.lm_head(states[inputs.text_rows]),
            read=self.read_out(
                inputs.masks, states[inputs.mask_rows], features, inputs.feature_rows[inputs.mask_rows], before
            ),
            masks=inputs.masks,
            backend=plan.name,
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
        own = self.classifier.see(pictures(pixel_values, image_grid_thw)) if self.classifier.sees else ()
        return ImageFeatures(torch.cat(found.pooler_output), patches, own)

    def embed(self, inputs: StampInputs, features: ImageFeatures) -> Tensor:
        """Embeddings [1, L, H]: an image placeholder becomes its feature, any other token with one has it added."""
        embeds: Tensor = self.model.language_model.embed_tokens(inputs.input_ids)[0]
        rows = inputs.feature_rows
        with_feature = rows >= 0
        taken = features.merged[rows[with_feature]].to(embeds.dtype)
        added = (inputs.input_ids[0] != self.config.image_token_id)[with_feature].unsqueeze(-1)
        embeds = embeds.index_put(
            (with_feature.nonzero()[:, 0],), torch.where(added, embeds[with_feature] + taken, taken)
        )
        return embeds[None]

    def read_out(
        self,
        masks: Sequence[MaskPlace],
        states: Tensor,
        features: ImageFeatures,
        feature_rows: Tensor | None = None,
        earlier: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What the method's readout makes of final states [R, H] of the rows that it reads; see `Reading`."""
        if feature_rows is None:
            feature_rows = torch.full((len(states),), -1, device=states.device)
        reading = Reading(states, feature_rows, tuple(masks), features, self.model.language_model, earlier)
        found: dict[str, Tensor] = self.classifier(reading)
        return found

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]  # of the transformers class that this is mixed into
        if isinstance(module, Readout):
            module.begin()


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
_MAPPING = [
    *(get_checkpoint_conversion_mapping("Qwen2VLForConditionalGeneration") or ()),  # type: ignore[no-untyped-call]
    *(WeightRenaming(before, now) for before, now in RENAMED.items()),
]
for _ours in (StampForQwen2VL, StampForQwen2_5VL):
    register_checkpoint_conversion_mapping(_ours.__name__, _MAPPING, overwrite=True)


def name_in_model(stored: str) -> str:
    """The name in the model of a weight of a published file, or of one that says it as the model does."""
    for renaming in _MAPPING:
        stored = renaming.rename_source_key(stored)[0]
    return stored
