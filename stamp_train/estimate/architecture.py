"""Sizes of the network of a recipe, counted on a model without memory (torch's meta device)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Recipe


@dataclass(frozen=True)
class Architecture:
    """Parameters by part, and the sizes that activations depend on.

    language: of the language model's layers. vision: of the tower with its merger. merger: of the merger, which runs once per
    merged patch. embeddings: of embedding and output matrix, once if they are tied. head: of all that the method adds.
    frozen: of those, what the method never trains. adapter: of a LoRA adapter with what it trains in full; 0 without. layers,
    hidden, inner, vocabulary: of the language model. vision_layers, vision_width: of the tower.
    """

    language: int
    vision: int
    merger: int
    embeddings: int
    head: int
    frozen: int
    adapter: int
    layers: int
    hidden: int
    inner: int
    vocabulary: int
    vision_layers: int
    vision_width: int

    @property
    def parameters(self) -> int:
        """Of the whole model, without an adapter."""
        return self.language + self.vision + self.embeddings + self.head

    def trained(self, *, freeze_vision: bool) -> int:
        """Those that are trained: of the adapter, if there is one."""
        return self.adapter or self.parameters - self.frozen - (self.vision if freeze_vision else 0)


def architecture(recipe: Recipe, config: Any = None) -> Architecture:
    """Count the network that a recipe trains, of that configuration if it is there already; faults as of `configuration`."""
    from stamp_train.backbones.load import outline

    config, model = config or configuration(recipe), recipe.model
    network = outline(config)
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    sizes = {name: weight.numel() for name, weight in network.named_parameters()}

    def total(*parts: str) -> int:
        return sum(size for name, size in sizes.items() if any(part in name for part in parts))

    language, vision = total("language_model.layers", "language_model.norm"), total("visual.")
    embeddings, adapter = total("embed_tokens", "lm_head"), 0
    head = sum(sizes.values()) - language - vision - embeddings
    frozen = sum(sizes[name] for name, weight in network.named_parameters() if not weight.requires_grad)
    if model.tuning == "lora":
        wrapped = [shape for name, shape in shapes.items() if re.search(rf"{network.backbone.adapted}\.weight$", name)]
        adapter = head - frozen + sum(model.lora.rank * (rows + columns) for rows, columns in wrapped)
        adapter += embeddings if model.lora.style == "published" else 0
    text = config.text_config
    return Architecture(
        language=language,
        vision=vision,
        merger=total("merger"),
        embeddings=embeddings,
        head=head,
        frozen=frozen,
        adapter=adapter,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=text.intermediate_size,
        vocabulary=text.vocab_size,
        vision_layers=config.vision_config.depth,
        vision_width=network.backbone.vision_width(config),
    )


def configuration(recipe: Recipe) -> Any:
    """The configuration of the network that a recipe trains; nothing is downloaded.

    UsageFault: `start` is neither a folder nor the name of a released model, so its size is unknown here; or the method names
    files that are not there. StampModelError: the start's is damaged, or of a family that STAMP is not built on.
    """
    from stamp_train.backbones.base import find
    from stamp_train.backbones.load import read_config
    from stamp_train.backbones.presets import byte_tokenizer, random_config
    from stamp_train.backbones.registry import BACKBONES, released
    from stamp_train.methods import store

    model = recipe.model
    if model.preset:
        return random_config(model, byte_tokenizer(), recipe.method.sized())
    if folder := find(model.start):
        config = read_config(folder)
        if getattr(config, "stamp", None) is None:
            store(recipe.method.sized(), config)
        return config
    size: Any = released(model.start)
    if not size:
        raise UsageFault(
            f"the size of {model.start!r} is not known here",
            f"give a folder with a config.json, or a released {', '.join(one.name for one in BACKBONES.values())}",
        )
    return random_config(msgspec.structs.replace(model, start="", preset=size), byte_tokenizer(), recipe.method.sized())
