"""`stamp-train compare`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import INTERRUPTED, hide_loading_bars, one_line, only_for, panels, print_json, progress_bar, say
from stamp_cli.make import Json
from stamp_cli.train_recipes import Overrides, duration, of, short

if TYPE_CHECKING:
    from stamp_train.compare.costs import Cost
    from stamp_train.compare.work import Plan
    from stamp_train.estimate.devices import Machine
    from stamp_train.estimate.dryrun import DryRun

ASK, PLAN = panels("How models are asked", "Dry run")
COSTS: dict[str, Callable[[DryRun], str]] = {
    "weights": lambda run: short(run.sizes.parameters),
    "added": lambda run: short(run.sizes.head),
    "steps": lambda run: f"{run.steps:,}",
    "tokens": lambda run: short(sum(cost.stage.work.tokens for cost in run.stages)),
    "FLOPs": lambda run: f"{sum(cost.operations for cost in run.stages):.2e}",
    "memory": lambda run: f"{run.memory.total:.1f} GiB",
    "time": lambda run: duration(run.hours),
}
"""What --dry-run tells of each method."""


def compare(
    context: typer.Context,
    methods: Annotated[
        list[str] | None, typer.Argument(metavar="METHOD…", help="Names of variants (see --methods), or `all`.")
    ] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="What all are trained by: a recipe, or a YAML file.")
    ] = "compare-tiny",
    overrides: Overrides = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method, each with another seed.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; comparisons/RECIPE if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever comparison OUT holds.")] = False,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="On this machine, one per GPU or core.")
    ] = 1,
    scenes: Annotated[int, typer.Option(min=0, help="Scenes that are drawn as every method sees them.")] = 8,
    listing: Annotated[bool, typer.Option("--methods", help="List what can be compared, and stop.")] = False,
    json: Json = False,
    records: Annotated[
        int | None, ASK(min=1, help="At most so many records of each set, a random sample; all if not given.")
    ] = None,
    max_new_tokens: Annotated[int, ASK(min=1, help="Most tokens of an answer; masks in words need many.")] = 1024,
    timed: Annotated[int, ASK(min=1, help="Cases whose answers are timed, one at a time.")] = 16,
    dry: Annotated[bool, PLAN("--dry-run", help="Say what each method would cost, and stop.")] = False,
    device: Annotated[str, PLAN(help="What --dry-run reckons with, such as h100; this machine if not given.")] = "",
    devices: Annotated[
        int | None, PLAN(min=1, help="How many of them; if not given, --processes, else those of this machine.")
    ] = None,
) -> None:
    """Train methods from one base on the same batches, score them by the same evaluator, and make one table of it.

    A comparison that was stopped or killed goes on when it is called again. A method that fails is named with the reason, the
    others go on, and the exit code is 1.
    """
    only_for(context, "--dry-run", dry, "device", "devices")
    if listing:
        return _list(json)
    from stamp_train.compare.folder import Asking
    from stamp_train.compare.variants import chosen, plain
    from stamp_train.compare.work import Plan
    from stamp_train.estimate.checks import check_recipe

    names = chosen(methods or ())
    resolved = plain(recipe, overrides or ())
    check_recipe(resolved.recipe)
    plan = Plan(
        names=names,
        recipe=recipe,
        overrides=overrides or (),
        resolved=resolved,
        seeds=seeds,
        out=out or Path("comparisons", resolved.name),
        asking=Asking(records=records, max_new_tokens=max_new_tokens, timed=timed),
        processes=processes,
    )
    if dry:
        return _dry_run(plan, device, devices or (processes if processes > 1 else None), json)
    return _compare(plan, overwrite, scenes, json)


def _list(json: bool) -> None:
    from stamp_train.compare.variants import available, title
    from stamp_train.methods import VARIANTS

    if json:
        told = [{"name": name, "title": title(name), "method": VARIANTS[name]} for name in available()]
        return print_json({"methods": told})
    width = max(map(len, available()))
    for name in available():
        settings = ", ".join(f"{key} {value}" for key, value in VARIANTS[name].items())
        print(f"{name:{width}}  {title(name)} ({settings})")
    return None


def _compare(plan: Plan, overwrite: bool, shown: int, json: bool) -> None:
    from stamp_data.writing import hold
    from stamp_train.compare.folder import claim, shared
    from stamp_train.compare.results import gather
    from stamp_train.compare.tables import show
    from stamp_train.compare.work import work
    from stamp_train.compare.writing import write
    from stamp_train.launch.signals import STOPPED, StoppedEarly, heard_early

    common = shared(plan.resolved, plan.asking)
    hide_loading_bars()
    plan.out.mkdir(parents=True, exist_ok=True)
    try:
        with hold(plan.out, "comparison"), heard_early():
            claim(plan.out, common, overwrite)
            with progress_bar() as report:
                done = work(plan, lambda did, total, what: report(did, total, one_line(what)))
            found = gather(plan, done, common, shlex.join(["stamp-train", *sys.argv[1:]]))
            write(plan, found, shown)
    except KeyboardInterrupt as asked:
        say("stopped; the same command goes on from here")
        raise typer.Exit(STOPPED if isinstance(asked, StoppedEarly) else INTERRUPTED) from None
    print_json(found) if json else show(found)
    say(f"{plan.out}: results.json, table.md, page.html, curves.svg, pictures/")
    for (name, seed), why in done.failed.items():
        say(f"failed: {name}, seed {seed}: {one_line(why)}")
    if done.failed:
        raise typer.Exit(1)


def _dry_run(plan: Plan, device: str, devices: int | None, json: bool) -> None:
    from stamp_train.compare.costs import costs
    from stamp_train.estimate.devices import machine

    used = machine(device, devices)
    found = costs(plan, used.device, used.count)
    if json:
        print_json({"methods": found, "seeds": plan.seeds, "device": used.name, "devices": used.count})
    else:
        _print_costs(plan, found, used)
    failed = [one for one in found if one.failed]
    for one in failed:
        say(f"failed: {one.name}: {one_line(one.failed)}")
    if failed:
        raise typer.Exit(1)


def _print_costs(plan: Plan, found: list[Cost], used: Machine) -> None:
    from rich.console import Console
    from rich.table import Table

    console, table = Console(), Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for column in COSTS:
        table.add_column(column, justify="right", no_wrap=True)
    for one in found:
        table.add_row(one.name, *("–" if one.run is None else told(one.run) for told in COSTS.values()))
    console.print(table)
    hours = [one.run.hours for one in found if one.run]
    known = [time for time in hours if time is not None]
    total = duration(plan.seeds * sum(known)) if known and len(known) == len(hours) else "unknown"
    times = f"{plan.seeds} seed{'s' * (plan.seeds > 1)}"
    console.print(
        f"training of all, {times}, estimated: {total} on {of(used)}; evaluation comes on top",
        highlight=False,
        soft_wrap=True,
    )
