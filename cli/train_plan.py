"""`stamp-train plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import App, epilog, print_json, say
from stamp_cli.make import Json
from stamp_cli.train_recipes import Overrides

if TYPE_CHECKING:
    from stamp_train.stream.stages import StepPlan

Row = dict[str, str | int]
app = App(no_args_is_help=True)


@app.callback()
def plan() -> None:
    """Which dialogues a run sees, and when."""


@app.command(epilog=epilog("stamp-train plan show runs/tiny --step 250", "stamp-train plan show stamp-2b --step 1"))
def show(
    run: Annotated[str, typer.Argument(metavar="RECIPE|RUN", help="A recipe, a YAML file, or the folder of a run.")],
    step: Annotated[
        int, typer.Option("--step", min=1, help="Optimizer step, from 1 over all stages, as in log.jsonl.")
    ],
    ranks: Annotated[int, typer.Option(min=1, help="Processes that share the step.")] = 1,
    rank: Annotated[int | None, typer.Option(min=0, help="Only what this process sees, counted from 0.")] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Name the dialogues of one step, by process and pack, from the plan alone: nothing is trained."""
    from stamp_schemas import UsageFault
    from stamp_train.recipes import resolve
    from stamp_train.stream.stages import step_plan
    from stamp_train.train.folder import RECIPE

    if rank is not None and rank >= ranks:
        raise UsageFault(f"--rank {rank} of {ranks}", "ranks are counted from 0; --ranks says how many there are")
    folder = Path(run) if Path(run).is_dir() else None
    if folder and not (folder / RECIPE).is_file():
        raise UsageFault(f"{run}: no folder of a run: no {RECIPE}", "give that of one run, a recipe, or a YAML file")
    recipe = resolve(str(folder / RECIPE) if folder else run, overrides or ()).recipe
    found = step_plan(recipe, step, ranks)
    if folder:
        _check_log(folder, step, found)
    rows = [row for row in _rows(found) if rank in (None, row["rank"])]
    facts: dict[str, object] = {
        "step": step,
        "stage": found.stage,
        "batch_digest": found.batch.digest,
        "dialogues": found.batch.dialogues,
        "ranks": ranks,
        "padding": round(found.packed.padding, 4),
    }
    return print_json({**facts, "seen": rows}) if json else _print(facts, rows)


def _check_log(folder: Path, step: int, found: StepPlan) -> None:
    """Name no dialogues that the run did not see: its log has the batch's digest."""
    from stamp_schemas import StampError
    from stamp_train.train.folder import LOG, RECIPE
    from stamp_train.train.runlog import read_rows

    logged = next((row["batch_digest"] for row in read_rows(folder / LOG) if row["step"] == step), None)
    if logged not in (None, found.batch.digest):
        raise StampError(
            f"{folder / LOG}: step {step} saw batch {logged}, by {RECIPE} it would see {found.batch.digest}",
            "the sets were built anew since, or the run was resumed with another batch.dialogues",
        )


def _rows(found: StepPlan) -> list[Row]:
    """One row per dialogue, in the order of ranks and packs."""
    return [
        {
            "rank": rank,
            "pack": number,
            "set": named.set,
            "epoch": named.epoch,
            "key": named.key,
            "dialogue": identity,
            "expression": expression,
        }
        for rank, packs in enumerate(found.packed.packs)
        for number, pack in enumerate(packs)
        for named in map(found.plan.name, pack.groups)
        for _, identity, expression in named.dialogues
    ]


def _print(facts: dict[str, object], rows: list[Row]) -> None:
    say("  ".join(f"{name} {value}" for name, value in facts.items()))
    lines = [list(rows[0]) if rows else [], *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
