"""The model: a vision-language model of transformers that also reads masks out of a packed sequence."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)

from stamp_train.attention import ATTENTION_NAME, AttentionPlan, make_plan, register
from stamp_train.backbones.contract import MERGE, Backbone
from stamp_train.backbones.registry import backbone_of
from stamp_train.methods.stamp.heads import WordsOfPlace, head_class, patches_to_grid
from stamp_train.sequence.config import StampConfig
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures, MaskBlock, StampInputs

register()


@dataclass(frozen=True)
class StampOutput:
    """Result of a packed forward pass.

    text_logits: [T, V], for the next token after each of `inputs.text_rows`. mask_logits: [M, side * side], for each mask
    token, row by row within its patch. blocks: the mask blocks, in order. backend: name of the attention backend that ran.
    name_logits: [4 N, names], for each patch of all images as the vision tower has them; None without names.
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


class StampModel(PreTrainedModel if TYPE_CHECKING else object):  # type: ignore[misc]
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
        mapping = get_checkpoint_conversion_mapping(base.__name__)  # type: ignore[no-untyped-call]
        register_checkpoint_conversion_mapping(cls.__name__, mapping or [], overwrite=True)

    def __init__(self, config: Any) -> None:
        self._check_config(config)
        super().__init__(config)
        self.stamp_config = StampConfig.of(config)
        width = self.backbone.vision_width(config)
        self.classifier = head_class(self.stamp_config.head)(config.text_config.hidden_size, width, self.stamp_config)
        if self.stamp_config.names:
            self.namer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(self.stamp_config.names)))
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
        early: bool = False,
        **kwargs: Any,
    ) -> Any:
        """One pass over a packed sequence, to a StampOutput; without `inputs`, the forward pass of transformers' own class.

        inputs: the packed sequence, on the model's device. attention: backend, see `stamp_train.attention.BACKENDS`;
        StampModelError if it is not there. early: read masks from the last layer but one too.
        """
        if inputs is None:
            return super().forward(*args, **kwargs)
        features = self.image_features(inputs)
        embeds = self.embed(inputs, features)
        device = embeds.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else embeds.dtype
        plan = make_plan(inputs.structure, attention, dtype)
        found = self.run_language(inputs, features, plan, embeds=embeds, output_hidden_states=early)
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
            if not self.stamp_config.deepstack:
                taking &= inputs.structure.block == 0
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
        return self.backbone.encode(self, pixel_values, image_grid_thw)

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
        super()._init_weights(module)
        if isinstance(module, WordsOfPlace):
            init.zeros_(module.place.weight)  # no place is preferred before anything is learned


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
