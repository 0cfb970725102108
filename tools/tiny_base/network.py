"""The network: a plain Qwen2-VL in StampModel's clothes, and what it computes of a packed batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stamp_schemas.recipe import Model
from stamp_train.backbones.presets import build_random
from stamp_train.sequence.inputs import ImageFeatures, StampInputs
from tools.tiny_base.begin import begin_alike, begin_near, fit_projection
from tools.tiny_base.plan import DocumentsPlan
from tools.tiny_base.recipe import Recipe
from tools.tiny_base.words import PLAIN


@dataclass
class Seen:
    """logits: [T, V], for the next token after each of the rows that predict one. features: of the images. early: [P, H],
    states of the images' tokens after the language model's first layer. late: [K * P, H], of those that have seen a question
    after its last layer: of every question ahead of its picture, else of every one with a box. said: [T, H], the last states
    of the rows that predict."""

    logits: Tensor
    features: ImageFeatures
    early: Tensor
    late: Tensor
    said: Tensor


def build_network(recipe: Recipe, tokenizer: Any, projection: Tensor | None = None) -> Any:
    """A network with random weights, float32. projection: of patches, which is frozen; fitted to scenes where there is none."""
    model = Model(preset="tiny", shape=recipe.shape, vocabulary=recipe.vocabulary)
    network: Any = build_random(model, tokenizer, PLAIN, recipe.seed, torch.float32)
    begin_near(network)
    begin_alike(network)
    patches = network.model.visual.patch_embed
    patches.requires_grad_(False)
    if projection is None:
        projection = fit_projection(recipe.scenes, patches.embed_dim)
    patches.proj.weight.copy_(projection.view_as(patches.proj.weight))
    return network


class Projected(nn.Module):
    """Stands in for the tower's projection where patches have been through it already."""

    def forward(self, features: Tensor) -> Tensor:
        """As they are."""
        return features


def look(network: Any, inputs: StampInputs, *, hidden: bool = False) -> Seen:
    """A forward pass over features of patches, not pixels: see `Projected`. hidden: what comes after a picture does not see
    what stands before it, and the tokens of a picture all see each other."""
    features = network.image_features(inputs)
    embeds = network.embed(inputs, features)
    plan = DocumentsPlan(inputs.structure, around(inputs) if hidden else None)
    found = network.run_language(inputs, features, plan, embeds=embeds, output_hidden_states=True)
    images = inputs.feature_rows >= 0
    last = found.last_hidden_state[0]
    said = last[inputs.text_rows]
    asked = images if hidden else images & (inputs.structure.block > 0)
    return Seen(network.lm_head(said), features, found.hidden_states[1][0][images], last[asked], said)


def around(inputs: StampInputs) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows stand before the picture of their document, its very first one apart, which are the picture's, and which
    stand behind it: bool [L] each. There is one question to a document."""
    document = inputs.structure.document.long()
    picture = inputs.feature_rows >= 0
    rows = torch.arange(len(picture))
    none = torch.full((int(document.max()) + 1,), len(picture))
    first = none.scatter_reduce(0, document, rows, "amin")[document]
    begins = none.scatter_reduce(0, document[picture], rows[picture], "amin")[document]
    return (first < rows) & (rows < begins), picture, (rows > begins) & ~picture
