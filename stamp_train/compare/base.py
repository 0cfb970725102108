"""A base for methods that begin at random weights: one network and one tokenizer for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import msgspec
import torch

from stamp_data.writing import replace_folder
from stamp_schemas.recipe import Recipe
from stamp_train.backbones.presets import build_random
from stamp_train.backbones.processor import StampProcessor, make_images
from stamp_train.backbones.saving import save_model
from stamp_train.compare.variants import available
from stamp_train.methods import VARIANTS, default_settings, settings_type
from stamp_train.methods.contract import Settings
from stamp_train.train.corpus import new_tokenizer


class _Neutral(Settings, frozen=True, tag_field="name", tag="base"):
    """Of no method: no token is added, and the tokenizer knows the words of all of them."""

    tokens: ClassVar[tuple[str, ...]] = ()

    def words(self) -> Iterable[str]:
        for name in available():
            settings = msgspec.convert(VARIANTS[name], settings_type(VARIANTS[name]["name"]))
            yield from settings.words()


def make_base(recipe: Recipe, folder: Path) -> None:
    """Write the network of a recipe with a preset as a plain base model, drawn from the recipe's seed, if it is not there yet.

    Each method with a network and a tokenizer of its own would begin elsewhere. StampError: a set cannot be read.
    """
    if folder.is_dir():
        return
    tokenizer = new_tokenizer(msgspec.structs.replace(recipe, method=_Neutral()))
    network = build_random(recipe.model, tokenizer, default_settings(), recipe.seed, torch.float32)
    images = make_images(network.backbone, recipe.data.min_tokens, recipe.data.max_tokens)
    processor = StampProcessor(tokenizer, images, network.backbone)
    replace_folder(folder, lambda empty: save_model(network, processor, empty, text_only=True))
