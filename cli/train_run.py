"""`stamp-train run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stamp_cli.console import print_json, say
from stamp_cli.make import Json
from stamp_cli.train_recipes import Overrides, show_dry_run

PLAN = "Dry run"


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe (see `stamp-train recipes`) or a YAML file.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; runs/RECIPE if not given.", show_default=False)
    ] = None,
    resume: Annotated[
        str, typer.Option(help="auto: go on from the newest checkpoint of the run folder; or a checkpoint's folder.")
    ] = "",
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Check every path, print what the run costs, and stop.", rich_help_panel=PLAN),
    ] = False,
    device: Annotated[
        str, typer.Option(help="Accelerator that --dry-run reckons with.", rich_help_panel=PLAN)
    ] = "a100-80",
    devices: Annotated[int, typer.Option(min=1, help="How many of them.", rich_help_panel=PLAN)] = 8,
    json: Json = False,
) -> None:
    """Train: all stages of a recipe, checkpoints on the way, the finished model in OUT/final."""
    from stamp_train.recipes import resolve

    resolved = resolve(recipe, overrides or ())
    if dry:
        from stamp_train.recipes.devices import device as named
        from stamp_train.recipes.dryrun import dry_run

        accelerator = named(device)
        found = dry_run(resolved.recipe, accelerator, devices)
        return print_json(found) if json else show_dry_run(resolved, found, device, devices, accelerator.memory)
    return say("")
