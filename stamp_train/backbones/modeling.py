"""The model: a vision-language model of transformers that also reads masks out of a packed sequence."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)

from stamp_train.attention import ATTENTION_NAME, AttentionPlan, make_plan, register
from stamp_train.backbones.contract import Backbone
from stamp_train.backbones.processor import pictures
from stamp_train.backbones.registry import backbone_of
from stamp_train.methods import settings_of
from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import MERGE
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures, MaskPlace, Outputs, Reading, StampInputs

register()


class StampModel(PreTrainedModel if TYPE_CHECKING else object):  # type: ignore[misc]  # a mixin
    """What STAMP adds to a class of transformers: a readout, and a forward pass over packed sequences."""

    backbone: ClassVar[Backbone]
    # Provided by the transformers class that this is mixed into.
    config: Any
    model: Any
    lm_head: nn.Module

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        base = getattr(transformers, cls.backbone.classes[1])
        _name_parameters(StampModel.forward, base.forward)
        # Published files have other names than transformers' own classes, which rename them by their name, and would leave a
        # subclass with random weights and a warning.
        mapping = get_checkpoint_conversion_mapping(base.__name__) or []  # type: ignore[no-untyped-call]
        register_checkpoint_conversion_mapping(cls.__name__, mapping, overwrite=True)

    def __init__(self, config: Any) -> None:
        self._check_config(config)
        super().__init__(config)
        self.method = settings_of(config).method()
        self.classifier = self.method.readout(config.text_config.hidden_size, self.backbone.vision_width(config))
        self.model.language_model.set_attn_implementation(ATTENTION_NAME)
        self.post_init()

    @staticmethod
    def _check_config(config: Any) -> None:
        asked = config.text_config._attn_implementation
        if asked not in (None, "sdpa", "eager", ATTENTION_NAME):
            raise StampModelError(
                f"attn_implementation={asked!r} for the language model would drop the mask of packed sequences silently",
                fix=f'leave it out, or pass {{"text_config": "{ATTENTION_NAME}", "vision_config": ...}}, and choose the '
                "backend in forward(attention=...)",
            )
        if any(kind != "full_attention" for kind in getattr(config.text_config, "layer_types", None) or ()):
            raise StampModelError("the language model has sliding-window layers", fix="set use_sliding_window to false")

    def set_attn_implementation(self, attn_implementation: str | dict[str, str], **kwargs: Any) -> None:
        """As in transformers, but for the vision tower only; StampModelError if one is asked for the language model."""
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
        """One pass over a packed sequence, to its Outputs; without `inputs`, the forward pass of transformers' own class.

        inputs: the packed sequence, on the model's device. attention: backend, see `stamp_train.attention.BACKENDS`;
        StampModelError if it is not there.
        """
        if inputs is None:
            return super().forward(*args, **kwargs)
        features = self.image_features(inputs)
        embeds = self.embed(inputs, features)
        device = embeds.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else embeds.dtype
        plan = make_plan(inputs.structure, attention, dtype)
        found = self.run_language(inputs, features, plan, embeds=embeds)
        states, rows = found.last_hidden_state[0], inputs.mask_rows
        text = states[inputs.text_rows]
        return Outputs(
            text_logits=self.lm_head(text),
            read=self.read_out(inputs.masks, states[rows], features, inputs.feature_rows[rows], text),
            masks=inputs.masks,
            backend=plan.name,
        )

    def run_language(
        self,
        inputs: StampInputs,
        features: ImageFeatures,
        plan: AttentionPlan,
        cache: Any = None,
        *,
        embeds: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """What transformers' language model makes of a sequence that attends by a plan; `last_hidden_state` is [1, L, H].

        cache: see `stamp_train.generation.cache`. embeds: those of `embed`, if they are at hand. options: further arguments of
        the language model.
        """
        language = self.model.language_model
        embeds = self.embed(inputs, features) if embeds is None else embeds
        if features.layers:
            taking = inputs.feature_rows >= 0
            if not self.method.deepstack:
                taking &= inputs.input_ids[0] == self.config.image_token_id
            if self.training or bool(taking.any()):  # trained weights take part in every pass: see `image_features`
                rows = inputs.feature_rows[taking]
                options |= {
                    "visual_pos_masks": taking[None],
                    "deepstack_visual_embeds": [layer[rows] for layer in features.layers],
                }
        if cache is not None:
            options[_cache_argument(type(language).forward)] = cache
        return language(
            inputs_embeds=embeds,
            position_ids=inputs.position_ids,
            attention_mask=embeds.new_empty(1, 1, 0, 0),  # four axes: transformers makes no mask of its own
            attention_plan=plan,
            use_cache=cache is not None,
            **options,
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
            device = inputs.input_ids.device
            if not self.training:
                return self.no_images(device)
            pixels = torch.zeros(MERGE**2, size, device=device)
            grid = torch.tensor([[1, MERGE, MERGE]], device=device)
        return self.encode_images(pixels, grid)

    def no_images(self, device: torch.device) -> ImageFeatures:
        """Features of a sequence without an image."""
        merged, patches = (
            (0, self.config.text_config.hidden_size),
            (0, MERGE**2, self.backbone.vision_width(self.config)),
        )
        return ImageFeatures(torch.zeros(merged, device=device), torch.zeros(patches, device=device))

    def encode_images(self, pixel_values: Tensor, image_grid_thw: Tensor) -> ImageFeatures:
        """Run the vision tower over float [patches, numbers], grouped by merge block, and int64 [I, 3]."""
        features = self.backbone.encode(self, pixel_values, image_grid_thw)
        if not self.classifier.sees:
            return features
        return replace(features, own=self.classifier.see(pictures(self.backbone, pixel_values, image_grid_thw)))

    def embed(self, inputs: StampInputs, features: ImageFeatures) -> Tensor:
        """Embeddings [1, L, H]: an image placeholder becomes its feature, any other token with one has it added; those that a
        method puts into a dialogue are its readout's."""
        embeds: Tensor = self.model.language_model.embed_tokens(inputs.input_ids)[0]
        rows = inputs.feature_rows
        with_feature = rows >= 0
        taken = features.merged[rows[with_feature]].to(embeds.dtype)
        added = (inputs.input_ids[0] != self.config.image_token_id)[with_feature].unsqueeze(-1)
        embeds = embeds.index_put(
            (with_feature.nonzero()[:, 0],), torch.where(added, embeds[with_feature] + taken, taken)
        )
        if self.training or len(inputs.given_rows):
            given = self.classifier.embed(inputs.numbers, inputs.given_of)
            if given is not None:
                embeds = embeds.index_put((inputs.given_rows,), given.to(embeds.dtype))
        return embeds[None]

    def read_out(
        self,
        masks: Sequence[MaskPlace],
        states: Tensor,
        features: ImageFeatures,
        feature_rows: Tensor | None = None,
        text: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What the method's readout makes of final states [R, H] of the rows that it reads; see `Reading`."""
        if feature_rows is None:
            feature_rows = torch.full((len(states),), -1, device=states.device)
        words, merger = None if text is None else self.lm_head, self.model.visual.merger
        found: dict[str, Tensor] = self.classifier(
            Reading(states, feature_rows, tuple(masks), features, merger, text, words)
        )
        return found

    def _initialize_weights(self, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        # Not in `_init_weights`, which transformers passes over for modules that have no weights of their own but in others.
        begun = getattr(module, "_is_hf_initialized", False)
        super()._initialize_weights(module, *args, **kwargs)
        if not begun and isinstance(module, Readout):
            with torch.no_grad():
                module.begin()


@cache
def model_class(model_type: str) -> type[StampModel]:
    """The class for a `model_type` of config.json: STAMP's part before transformers' own. StampModelError if there is none."""
    backbone = backbone_of(model_type)
    base = getattr(transformers, backbone.classes[1])
    name = f"StampFor{base.__name__.removesuffix('ForConditionalGeneration')}"
    return type(name, (StampModel, base), {"backbone": backbone, "__doc__": f"STAMP on {backbone.name}."})


def names_in_model(model_type: str, stored: Iterable[str]) -> dict[str, str]:
    """The names in the model of weights of a published file, or of one that says them as the model does."""
    mapping = get_checkpoint_conversion_mapping(model_class(model_type).__name__) or ()  # type: ignore[no-untyped-call]
    found = {}
    for name in stored:
        renamed = name
        for renaming in mapping:
            renamed = renaming.rename_source_key(renamed)[0]
        found[name] = renamed
    return found


@cache
def _cache_argument(forward: Any) -> str:
    """What a language model of transformers calls its cache; from 5.24 on the older name warns."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


def _name_parameters(forward: Any, theirs: Any) -> None:
    """Let `forward` show the parameters that it passes on: transformers' `generate` gives it only what it names."""
    named = {name: found for each in (theirs, forward) for name, found in inspect.signature(each).parameters.items()}
    kept = [found for found in named.values() if found.kind is not inspect.Parameter.VAR_POSITIONAL]
    forward.__signature__ = inspect.Signature(sorted(kept, key=lambda found: found.kind))
