"""The published folder: a plain Qwen2-VL checkpoint in bfloat16 with tokenizer, image processor, model card and digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stamp_data.writing import replace_folder
from stamp_schemas import StampError
from stamp_train.backbones.processor import StampProcessor, make_images
from stamp_train.backbones.saving import save_model
from stamp_train.train.checksums import write_checksums
from tools.tiny_base.recipe import Recipe
from tools.tiny_base.training import Learner

LARGEST = 8_000_000  # bytes of all files
_LEAST = 4  # merged patches of a picture
_CARD = """\
# tiny-base

A Qwen2-VL of {parameters:.1f} million parameters that looks at pictures of a few coloured shapes and answers questions about
them in a word or a list. It knows the pictures and the language of `stamp-data synth`, and nothing else: no photographs, no
other words. It is a base to start small trainings from.

Made by `python -m tools.tiny_base`, in {steps:,} steps ({minutes:.0f} minutes), from random weights, on {scenes:,} rendered
scenes of seed {train_seed}. It has learned boxes of what is spoken of, and no masks.

Right answers on {held_out:,} scenes of seed {held_out_seed}, to the letter, by greedy decoding:

{table}

"Place" is where a thing is (nine answers), and the color or shape of the one of several that a side, a corner or an extreme
chooses; "size" and "relation" alike, and a comparison that is answered by yes or no.
"""


def publish(learner: Learner, table: str, out: Path) -> None:
    """Write the folder, whole or not at all. table: scores, as Markdown.

    Raises StampError if it is larger than it may be.
    """
    recipe = learner.recipe
    network = learner.averaged().to(torch.bfloat16)
    images = make_images(network.backbone, _LEAST, recipe.scenes.patches)
    processor = StampProcessor(learner.tokenizer, images, network.backbone)

    def fill(folder: Path) -> None:
        save_model(network, processor, folder, text_only=True)
        (folder / "README.md").write_text(_card(learner, network, recipe, table), encoding="utf-8")
        write_checksums(folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        if size > LARGEST:
            raise StampError(f"{out}: {size:,} bytes, more than {LARGEST:,}", "a smaller shape in the recipe")

    replace_folder(out, fill)


def _card(learner: Learner, network: Any, recipe: Recipe, table: str) -> str:
    scenes = recipe.scenes
    return _CARD.format(
        parameters=sum(weight.numel() for weight in network.parameters()) / 1e6,
        steps=learner.step,
        minutes=learner.seconds / 60,
        scenes=scenes.train,
        train_seed=scenes.train_seed,
        held_out=scenes.held_out,
        held_out_seed=scenes.held_out_seed,
        table=table,
    )
