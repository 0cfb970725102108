"""From a stage of a recipe to its stream: what is drawn, how much of it, and the loader that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from stamp_schemas import StampError
from stamp_schemas.recipe import Recipe
from stamp_train.model.processor import StampProcessor
from stamp_train.stream import LoaderOptions, Mixture, Plan, StreamLoader, TokenCosts
from stamp_train.stream.examples import Prepare
from stamp_train.stream.plan import PlanOptions

QUARANTINE = "quarantine.jsonl"
# The presets' own tokenizer knows single bytes, of which these turns are made.
_BYTES = TokenCosts(system=37, turn=13, header=7, vision=2, characters=1.0)


def stage_plan(recipe: Recipe, index: int) -> Plan:
    """What a stage draws. By `epochs` it ends with its last dialogue; by `steps` its sets go on as long as it takes.

    Raises:
        StampError: a set is not there.
    """
    stage = recipe.stages[index]
    options = PlanOptions(
        seed=recipe.seed + index,  # two stages over the same set draw it in different orders
        batch=recipe.batch.dialogues,
        dialogues_per_image=recipe.batch.dialogues_per_image,
    )
    sets = [str(Path(recipe.data.root, use.set)) for use in stage.sets]
    if stage.epochs:
        return Plan(sets, Mixture(passes=tuple(stage.epochs * use.passes for use in stage.sets)), options)
    sizes = Plan(sets, None, options).rates
    weights = tuple(use.passes * size for use, size in zip(stage.sets, sizes, strict=True))
    return Plan(sets, Mixture(weights=weights), options)


def stage_steps(recipe: Recipe, index: int) -> int:
    """Optimizer steps of a stage.

    Raises:
        StampError: a set is not there, or the sets hold nothing.
    """
    steps = recipe.stages[index].steps or stage_plan(recipe, index).steps
    if not steps:
        raise StampError(f"stage {recipe.stages[index].name}: its sets hold no dialogue")
    return steps


def open_feed(
    recipe: Recipe, index: int, processor: StampProcessor, side: int, rank: int, world: int, out: Path
) -> StreamLoader:
    """The loader of a stage for one rank.

    Args:
        recipe: the whole recipe.
        index: of the stage.
        processor: makes pixel values.
        side: labels per side of a merged patch.
        rank, world: which of how many processes.
        out: run folder, for the list of unreadable records.
    """
    options = LoaderOptions(
        rank=rank,
        world=world,
        token_budget=recipe.batch.pack_tokens,
        side=side,
        threads=recipe.data.threads,
        max_bad_share=recipe.data.max_bad_share,
        quarantine=out / QUARANTINE,
    )
    costs = _BYTES if counts_bytes(recipe) else None
    return StreamLoader(stage_plan(recipe, index), prepare_with(processor), options, costs)


def prepare_with(processor: StampProcessor) -> Prepare:
    """The processor as the stream calls it."""

    def prepare(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
        batch = processor.images([image])[0]
        return batch.pixel_values, batch.grid_thw

    return prepare


def counts_bytes(recipe: Recipe) -> bool:
    """Whether the model's tokenizer is the presets' own, to which every character is a token."""
    return bool(recipe.model.preset) and not recipe.model.tokenizer and not recipe.model.vocabulary


def state_of(feed: StreamLoader) -> dict[str, Any]:
    """The loader's state as plain values."""
    return dict(feed.state_dict())
