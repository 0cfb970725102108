"""From the stages of a recipe to their plans: what a run draws, and which step of which stage sees what.

Importing this loads neither torch nor transformers.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from statistics import fmean

from stamp_data.shards.manifest import NoManifest
from stamp_data.shards.stores import Store, open_store
from stamp_data.shards.stores.cache import ShardCache
from stamp_schemas import StampError
from stamp_schemas.recipe import Data, Recipe
from stamp_train.backbones.registry import recipe_backbone
from stamp_train.stream.lengths import Lengths, TokenCosts
from stamp_train.stream.mixture import Mixture
from stamp_train.stream.pack import PackedStep, pack_batch
from stamp_train.stream.plan import GlobalBatch, Plan, PlanOptions

_SAMPLE = 24  # steps that padding is measured on
# The presets' own tokenizer knows single bytes, of which these turns are made.
_BYTES = TokenCosts(system=37, turn=13, header=7, vision=2, characters=1.0, counted=False)


def stage_plan(recipe: Recipe, index: int) -> Plan:
    """What a stage draws. By `epochs` it ends with its last dialogue; by `steps` its sets go on as long as it takes.

    StampError: a set is not there.
    """
    stage = recipe.stages[index]
    options = PlanOptions(
        seed=recipe.seed + index,  # two stages over the same set draw it in different orders
        batch=recipe.batch.dialogues,
        dialogues_per_image=recipe.batch.dialogues_per_image,
    )
    sets = [open_set(recipe.data, use.set) for use in stage.sets]
    with told_root(recipe.data):
        if stage.epochs:
            return Plan(sets, Mixture(passes=tuple(stage.epochs * use.passes for use in stage.sets)), options)
        sizes = Plan(sets, None, options).rates
    weights = tuple(use.passes * size for use, size in zip(stage.sets, sizes, strict=True))
    return Plan(sets, Mixture(weights=weights), options)


def open_set(data: Data, name: str) -> Store:
    """Where a set of a recipe is read from, by whoever reads it: a folder or a URL below `data.root`, and its cache."""
    cache = None
    if data.cache.folder:
        cache = ShardCache(Path(data.cache.folder).expanduser(), int(data.cache.limit * 1e9))
    return open_store(posixpath.join(data.root, name), data.store_patience, cache)


@contextmanager
def told_root(data: Data) -> Iterator[None]:
    """Where a set is not there, the hint is of the key that says where sets lie."""
    try:
        yield
    except NoManifest as fault:
        raise StampError(fault.message, f"--set data.root=FOLDER: built sets lie under it, now {data.root}") from None


def stage_steps(recipe: Recipe, index: int) -> int:
    """Optimizer steps of a stage. StampError: a set is not there, or the sets hold nothing."""
    steps = recipe.stages[index].steps or stage_plan(recipe, index).steps
    if not steps:
        raise StampError(f"stage {recipe.stages[index].name}: its sets hold no dialogue")
    return steps


def token_costs(recipe: Recipe) -> TokenCosts:
    """Tokens of a sequence that no text accounts for, in the model's tokenizer and by its method."""
    model, backbone = recipe.model, recipe_backbone(recipe.model)
    costs = _BYTES if model.preset and not model.tokenizer and not model.vocabulary else TokenCosts()
    system = costs.system if backbone.chat.system else 0
    method = recipe.method
    return replace(costs, factor=backbone.factor, system=system, mask=method.tokens_per_mask, apart=method.looks_ahead)


@dataclass(frozen=True)
class StepPlan:
    """One optimizer step of a run, without reading a picture. stage: its name. packed: the batch, over the ranks."""

    stage: str
    plan: Plan
    batch: GlobalBatch
    packed: PackedStep


def step_plan(recipe: Recipe, step: int, ranks: int = 1) -> StepPlan:
    """What an optimizer step of an undisturbed run sees, counted from 1 over all stages, as in `log.jsonl`.

    StampError: the run has no such step, or a set is not there.
    """
    ends = list(accumulate(stage_steps(recipe, index) for index in range(len(recipe.stages))))
    if not 1 <= step <= ends[-1]:
        raise StampError(f"the run has no step {step}", f"it has steps 1 to {ends[-1]}")
    index = next(index for index, end in enumerate(ends) if step <= end)
    plan = stage_plan(recipe, index)
    batch = plan.batch(step - 1 - (ends[index - 1] if index else 0))
    packed = _packed(recipe, Lengths(plan, token_costs(recipe)), batch, ranks)
    return StepPlan(recipe.stages[index].name, plan, batch, packed)


def stage_padding(recipe: Recipe, index: int, ranks: int) -> float:
    """Share of a stage in which ranks wait for the longest pack, over a sample of its steps; 0 for one rank."""
    plan, steps = stage_plan(recipe, index), stage_steps(recipe, index)
    lengths = Lengths(plan, token_costs(recipe))
    sample = sorted({steps * place // _SAMPLE for place in range(_SAMPLE)})
    return fmean(_packed(recipe, lengths, plan.batch(step), ranks).padding for step in sample)


def _packed(recipe: Recipe, lengths: Lengths, batch: GlobalBatch, ranks: int) -> PackedStep:
    return pack_batch(batch.groups, lengths(batch.groups), ranks, recipe.batch.pack_tokens)
