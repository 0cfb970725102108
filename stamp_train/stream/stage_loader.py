"""From a stage of a recipe to the loader that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from stamp_schemas.recipe import Recipe
from stamp_train.backbones.processor import StampProcessor
from stamp_train.methods.contract import Method
from stamp_train.stream import LoaderOptions, StreamLoader
from stamp_train.stream.examples import Prepare
from stamp_train.stream.stages import stage_plan, token_costs

QUARANTINE = "quarantine.jsonl"


def open_feed(
    recipe: Recipe, index: int, processor: StampProcessor, method: Method, rank: int, world: int, out: Path
) -> StreamLoader:
    """The loader of a stage for one rank of `world`. out: run folder, for the list of unreadable records."""
    options = LoaderOptions(
        rank=rank,
        world=world,
        token_budget=recipe.batch.pack_tokens,
        threads=recipe.data.threads,
        max_bad_share=recipe.data.max_bad_share,
        quarantine=out / QUARANTINE,
    )
    return StreamLoader(stage_plan(recipe, index), prepare_with(processor), method, options, token_costs(recipe))


def prepare_with(processor: StampProcessor) -> Prepare:
    """The processor as the stream calls it."""

    def prepare(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
        batch = processor.images([image])[0]
        return batch.pixel_values, batch.grid_thw

    return prepare


def state_of(feed: StreamLoader) -> dict[str, Any]:
    """The loader's state as plain values."""
    return dict(feed.state_dict())
