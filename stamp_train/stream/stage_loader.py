"""From a stage of a recipe to the loader that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from stamp_schemas.recipe import Recipe
from stamp_train.backbones.processor import StampProcessor
from stamp_train.methods.stamp.losses import loss_settings
from stamp_train.stream import LoaderOptions, StreamLoader
from stamp_train.stream.examples import Prepare
from stamp_train.stream.stages import stage_plan, token_costs

QUARANTINE = "quarantine.jsonl"


def open_feed(
    recipe: Recipe,
    index: int,
    processor: StampProcessor,
    side: int,
    rank: int,
    world: int,
    out: Path,
    names: Sequence[str] = (),
) -> StreamLoader:
    """The loader of a stage for one rank.

    Args:
        recipe: the whole recipe.
        index: of the stage.
        processor: makes pixel values.
        side: labels per side of a merged patch.
        rank, world: which of how many processes.
        out: run folder, for the list of unreadable records.
        names: of the model, for the loss of naming.
    """
    options = LoaderOptions(
        rank=rank,
        world=world,
        token_budget=recipe.batch.pack_tokens,
        side=side,
        label_rule=loss_settings(recipe.loss).label_rule,
        names=names,
        threads=recipe.data.threads,
        max_bad_share=recipe.data.max_bad_share,
        quarantine=out / QUARANTINE,
    )
    return StreamLoader(stage_plan(recipe, index), prepare_with(processor), options, token_costs(recipe))


def prepare_with(processor: StampProcessor) -> Prepare:
    """The processor as the stream calls it."""

    def prepare(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
        batch = processor.images([image])[0]
        return batch.pixel_values, batch.grid_thw

    return prepare


def state_of(feed: StreamLoader) -> dict[str, Any]:
    """The loader's state as plain values."""
    return dict(feed.state_dict())
