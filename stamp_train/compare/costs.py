"""What a comparison would cost, method by method, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stamp_schemas import StampError
from stamp_train.compare.variants import recipe_of
from stamp_train.estimate.devices import Device
from stamp_train.estimate.dryrun import DryRun, dry_run


@dataclass(frozen=True)
class Cost:
    """Of one run of a variant, of which every seed has one. failed: why it would not run."""

    name: str
    run: DryRun | None
    failed: str = ""


def costs(
    recipe: str, overrides: Sequence[str], names: Sequence[str], seed: int, device: Device, devices: int
) -> list[Cost]:
    """Of each variant; see `stamp_train.estimate.dryrun.dry_run`."""
    return [_cost(recipe, overrides, name, seed, device, devices) for name in names]


def _cost(recipe: str, overrides: Sequence[str], name: str, seed: int, device: Device, devices: int) -> Cost:
    try:
        return Cost(name, dry_run(recipe_of(recipe, overrides, name, seed).recipe, device, devices))
    except StampError as fault:
        return Cost(name, None, str(fault))
