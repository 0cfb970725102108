"""`stamp-train run`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import print_json, say
from stamp_cli.make import Json
from stamp_cli.train_recipes import Overrides, show_dry_run
from stamp_train.launch.local import STARTED, start

if TYPE_CHECKING:
    from stamp_train.recipes import Resolved

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
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Processes on this machine, one per GPU or CPU core.")
    ] = 1,
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
    if processes > 1 and STARTED not in os.environ:
        start(processes, sys.argv[1:])
    return _train(resolved, out or Path("runs", resolved.name), resume, json)


def _train(resolved: Resolved, out: Path, resume: str, json: bool) -> None:
    from transformers.utils.logging import disable_progress_bar

    from stamp_train.loop import FINAL, RECIPE, Run, find_start
    from stamp_train.panel import watching
    from stamp_train.recipes import changes, resolve

    began = time.monotonic()
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of every file that a checkpoint consists of
    start = find_start(out, resume)
    if start and (out / RECIPE).is_file() and STARTED not in os.environ:
        for change in changes(resolve(str(out / RECIPE)), resolved):
            say(f"changed since the run began: {change}")
    with watching() as watch:
        running = Run(resolved, out, start, watch)
        if running.main:
            processes = running.accelerator.num_processes
            where = f"{processes} process{'es' if processes > 1 else ''} ({running.accelerator.device.type})"
            say(f"{resolved.name}: {sum(running.stage_steps):,} steps, {where}{f', from {start}' if start else ''}")
        metrics = {**running.train(), "seconds": round(time.monotonic() - began, 1)}
    if running.main:
        print_json({"steps": running.progress.step, **metrics}) if json else _print_metrics(metrics)
        say(f"{out / FINAL}: the finished model")


def _print_metrics(metrics: dict[str, float]) -> None:
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:{width}}  {value:.4g}")
