"""What a comparison would cost, method by method, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from stamp_schemas import StampError
from stamp_train.compare.variants import recipe_of
from stamp_train.compare.work import Plan
from stamp_train.estimate.devices import Device
from stamp_train.estimate.dryrun import DryRun, dry_run


@dataclass(frozen=True)
class Cost:
    """Of one run of a variant, of which every seed has one. failed: why it would not run."""

    name: str
    run: DryRun | None
    failed: str = ""


def costs(plan: Plan, device: Device, devices: int) -> list[Cost]:
    """Of each variant; see `stamp_train.estimate.dryrun.dry_run`."""
    found = []
    for name in plan.names:
        try:
            recipe = recipe_of(plan.recipe, plan.overrides, name, plan.resolved.recipe.seed).recipe
            found.append(Cost(name, dry_run(recipe, device, devices)))
        except StampError as fault:
            found.append(Cost(name, None, str(fault)))
    return found
