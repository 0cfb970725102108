"""What a run would do and cost, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from stamp_schemas import StampError
from stamp_schemas.recipe import Recipe
from stamp_train.estimate.architecture import Architecture, architecture
from stamp_train.estimate.checks import check_recipe
from stamp_train.estimate.cost import Memory, hours, memory, operations
from stamp_train.estimate.devices import Device
from stamp_train.estimate.workload import StageWork, stage_work
from stamp_train.stream.stages import stage_padding


@dataclass(frozen=True)
class StageCost:
    """One stage with its cost on the devices asked for.

    padding: fraction of the time in which they wait for the longest pack, measured on a sample of steps. hours: with that
    waiting, None where the devices' speed is not known.
    """

    stage: StageWork
    padding: float
    operations: float
    hours: float | None


@dataclass(frozen=True)
class DryRun:
    """The whole run. memory: of each device, GiB."""

    stages: list[StageCost]
    sizes: Architecture
    memory: Memory

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(cost.stage.steps for cost in self.stages)

    @property
    def hours(self) -> float | None:
        """Of all stages; None where that is not known."""
        known = [cost.hours for cost in self.stages if cost.hours is not None]
        return sum(known) if len(known) == len(self.stages) else None


def dry_run(recipe: Recipe, device: Device, devices: int) -> DryRun:
    """Count a run's steps and tokens and estimate its memory and time; nothing is downloaded or written.

    StampError: lists everything that is at fault (`check_recipe`), or a shard is missing or of another size. UsageFault: the
    size of the model cannot be known, or DeepSpeed's file is at fault.
    """
    check_recipe(recipe)
    sizes = architecture(recipe)
    needed = memory(recipe, sizes, devices)
    stages = []
    for index, stage in enumerate(recipe.stages):
        work = stage_work(recipe, stage)
        if work.work.longest > recipe.batch.pack_tokens:
            raise StampError(
                f"stage {stage.name}: an image with its dialogues takes {work.work.longest:,} tokens, "
                f"batch.pack_tokens is {recipe.batch.pack_tokens:,}",
                "raise batch.pack_tokens, or lower batch.dialogues_per_image or data.max_tokens",
            )
        padding = stage_padding(recipe, index, devices)
        required = operations(recipe, sizes, work.work, repeated=True)
        busy = hours(required, device, devices)
        stages.append(StageCost(work, padding, required, None if busy is None else busy / (1 - padding)))
    return DryRun(stages, sizes, needed)
