"""`stamp-train recipes`, and the page of `stamp-train run --dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import print_json, say
from stamp_cli.make import Json

if TYPE_CHECKING:
    from stamp_train.estimate.devices import Machine
    from stamp_train.estimate.dryrun import DryRun
    from stamp_train.recipes import Resolved

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value, for example optimizer.learning_rate=1e-5."),
]

WASTEFUL = 0.05  # padding above which the page says so


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe or a YAML file; without one, all are listed.")] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """List the recipes, or print one in full: every value, and where it comes from."""
    from stamp_train.recipes import names, resolve

    if name is not None:
        resolved = resolve(name, overrides or ())
        if json:
            return print_json({"name": resolved.name, "recipe": resolved.recipe, "origins": resolved.origins})
        return print(resolved.yaml(), end="")
    found = [resolve(known) for known in names()]
    if json:
        return print_json({"recipes": [{"name": one.name, "about": one.recipe.about} for one in found]})
    width = max(len(one.name) for one in found)
    for one in found:
        print(f"{one.name:{width}}  {one.recipe.about}")
    return say("hint: stamp-train recipes NAME prints one in full; stamp-train run NAME --dry-run says what it costs")


def show_dry_run(resolved: Resolved, found: DryRun, machine: Machine) -> None:
    """Stages, tokens and costs as tables on stdout."""
    from rich.console import Console
    from rich.table import Table

    from stamp_train.estimate.devices import DEVICES

    recipe, console = resolved.recipe, Console()
    sizes = found.sizes
    trained = sizes.trained(freeze_vision=recipe.model.freeze_vision)
    console.print(f"{resolved.name}: {recipe.about}", highlight=False, soft_wrap=True)
    console.print(f"{sizes.parameters:,} parameters, {trained:,} trained; {found.steps:,} steps", highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # 80 columns hold it
    table.add_column("stage", no_wrap=True)
    for column in ("steps", "dialogues", "images", "tokens", "text", "image", "mask", "padding", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for cost in found.stages:
        work = cost.stage.work
        amounts = (work.dialogues, work.visits, work.tokens)
        parts = (work.text, work.image, work.mask)
        table.add_row(
            cost.stage.name,
            f"{cost.stage.steps:,}",
            *map(short, amounts),
            *(f"{part / work.tokens:.0%}" for part in parts),
            f"{cost.padding:.1%}",
            duration(cost.hours),
        )
    console.print(table)
    held = found.memory
    console.print(
        f"memory per device, estimated: {held.total:.1f} GiB (weights {held.weights:.1f}, gradients and moments "
        f"{held.training:.1f}, activations {held.activations:.1f}); {machine.name} has {machine.device.memory:.3g} GiB",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"time, estimated: {duration(found.hours)} on {of(machine)}", highlight=False, soft_wrap=True)
    if found.hours is None:
        say(f"hint: how fast {machine.name} is, is not known; --device NAME reckons with one of {', '.join(DEVICES)}")
    if max(cost.padding for cost in found.stages) > WASTEFUL:
        say(
            f"hint: {recipe.batch.dialogues} dialogues are too few to be even on {machine.count} devices; "
            "raise batch.dialogues"
        )
    if held.total > machine.device.memory:
        say(
            "hint: it does not fit; lower batch.pack_tokens, or set engine=fsdp, model.gradient_checkpointing or model.tuning"
        )


def of(machine: Machine) -> str:
    """How many of what: `8 × h100`."""
    return machine.name if machine.count == 1 else f"{machine.count} × {machine.name}"


def duration(hours: float | None) -> str:
    """Hours, minutes where it is less than one, seconds where it is less than a minute."""
    if hours is None:
        return "unknown"
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.2g} min" if 60 * hours >= 1 else f"{3600 * hours:.2g} s"


def short(amount: float) -> str:
    """A number in three digits: 31.2M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= size:
            return f"{amount / size:.3g}{unit}"
    return f"{amount:.3g}"
