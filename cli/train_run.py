"""`stamp-train run`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli import train_launch as at
from stamp_cli.console import INTERRUPTED, hide_loading_bars, print_json, say
from stamp_cli.make import Json
from stamp_cli.train_recipes import Overrides, show_dry_run
from stamp_train.launch import is_first, is_worker, parse_nodes, restarted

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
        str,
        typer.Option(
            help="auto: go on from the newest checkpoint of the run folder; or a checkpoint's folder.",
            show_default=False,
        ),
    ] = "",
    base: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="With --resume: the model that a LoRA run began with, if it has moved.",
            show_default=False,
        ),
    ] = "",
    json: Json = False,
    launcher: at.Launcher = "local",
    processes: at.Processes = None,
    nodes: at.Nodes = "",
    node_rank: at.NodeRank = None,
    rendezvous: at.Rendezvous = "",
    max_restarts: at.Restarts = 0,
    gpus_per_node: at.Gpus = None,
    time: at.TimeLimit = "",
    partition: at.Partition = "",
    account: at.Account = "",
    slurm_option: at.SlurmOptions = None,
    print_script: at.PrintScript = False,
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Check every path, print what the run costs, and stop.", rich_help_panel=PLAN),
    ] = False,
    device: Annotated[
        str, typer.Option(help="Accelerator that --dry-run reckons with.", rich_help_panel=PLAN)
    ] = "a100-80",
    devices: Annotated[int, typer.Option(min=1, help="How many of them.", rich_help_panel=PLAN)] = 8,
) -> None:
    """Train: all stages of a recipe, checkpoints on the way, the finished model in OUT/final.

    SIGTERM or SIGUSR1 end it after the step that it is at, with a checkpoint and exit code 75.
    """
    from stamp_schemas import UsageFault
    from stamp_train.launch.slurm import Job, parse_options
    from stamp_train.recipes import resolve
    from stamp_train.recipes.deepspeed import check_deepspeed

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings are stacks of C++ calls
    if base:
        overrides = [*(overrides or ()), f"model.start={base}"]
    resolved = resolve(recipe, overrides or ())
    if base and not (resume and resolved.recipe.model.tuning == "lora"):
        raise UsageFault(
            "--base goes with --resume of a LoRA run alone", "--set model.start=FOLDER begins with a model"
        )
    if dry:
        return _dry_run(resolved, device, devices, json)
    check_deepspeed(resolved.recipe)
    out = out or Path("runs", resolved.name)
    if launcher != "slurm":
        at.refuse(launcher, gpus_per_node=gpus_per_node, time=time, partition=partition, account=account)
        at.refuse(launcher, slurm_option=slurm_option, print_script=print_script)
    if launcher != "torchrun":
        at.refuse(launcher, node_rank=node_rank, rendezvous=rendezvous)
    if launcher == "local":
        at.refuse(launcher, nodes=nodes)
    try:
        if is_worker():
            return _train(resolved, out, resume, json)
        _find_start(out, resume)  # a wrong call is told here, not by every process
        again = at.arguments(recipe, overrides or (), out, resume or ("auto" if launcher == "slurm" else ""), json)
        if launcher == "slurm":
            job = Job(
                nodes=parse_nodes(nodes or "1"),
                gpus=gpus_per_node or 0,
                processes=processes,
                restarts=max_restarts,
                time=time,
                partition=partition,
                account=account,
                options=parse_options(slurm_option or ()),
            )
            return at.submit(again, job, out, print_script)
        if launcher == "torchrun":
            return at.start_node(again, nodes, node_rank, rendezvous, processes, max_restarts)
        if (processes or 1) > 1 or max_restarts:
            with _alone(out):  # so too here, before any process is started
                pass
            return at.start_here(again, processes or 1, max_restarts)
        return _train(resolved, out, resume, json)
    except KeyboardInterrupt:
        if not is_worker():
            say(f"stopped; {_how_to_go_on(out)}")
        raise typer.Exit(INTERRUPTED) from None


def _dry_run(resolved: Resolved, device: str, devices: int, json: bool) -> None:
    from stamp_train.recipes.devices import device as named
    from stamp_train.recipes.dryrun import dry_run

    accelerator = named(device)
    found = dry_run(resolved.recipe, accelerator, devices)
    return print_json(found) if json else show_dry_run(resolved, found, device, devices, accelerator.memory)


def _find_start(out: Path, resume: str, *, whole: bool = False) -> Path | None:
    """As asked for; but what was started anew by a scheduler goes on from its own checkpoints, if it has any.

    whole: read it all, and pass over what is damaged.
    """
    from stamp_train.resume import find, find_start, find_whole
    from stamp_train.runlog import CHECKPOINTS

    return (find_whole if whole else find_start)(out, "auto" if restarted() and find(out / CHECKPOINTS) else resume)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder for as long; one in which nothing was written does not stay."""
    from stamp_data.lock import hold

    out.mkdir(parents=True, exist_ok=True)
    try:
        with hold(out, "run"):
            yield
    finally:
        with suppress(OSError):
            out.rmdir()


def _how_to_go_on(out: Path) -> str:
    from stamp_train.resume import find
    from stamp_train.runlog import CHECKPOINTS

    found = find(out / CHECKPOINTS)
    return f"--resume auto goes on from {found[-1]}" if found else "there is no checkpoint yet"


def _train(resolved: Resolved, out: Path, resume: str, json: bool) -> None:

    from stamp_schemas import StampError
    from stamp_train.launch.peers import lost_peer
    from stamp_train.launch.signals import STOPPED, Stopped
    from stamp_train.loop import Run
    from stamp_train.panel import watching
    from stamp_train.precision import with_native_precision
    from stamp_train.runlog import FINAL

    began = monotonic()
    hide_loading_bars()
    start = _find_start(out, resume)
    if start and not is_worker():
        _say_changes(with_native_precision(resolved), out)
    with _alone(out) if is_first() else nullcontext(), watching() if is_first() else nullcontext() as watch:
        running = Run(resolved, out, partial(_find_start, out, resume, whole=True), watch)
        if running.main:
            processes = running.accelerator.num_processes
            where = f"{processes} process{'es' if processes > 1 else ''} ({running.accelerator.device.type})"
            begins = f", from {running.start}" if running.start else ""
            say(f"{resolved.name}: {sum(running.stage_steps):,} steps, {where}{begins}")
            if running.recipe.model.precision != resolved.recipe.model.precision:
                say(
                    "this machine has no bfloat16 arithmetic of its own: all is computed in float32, and final/ is stored so"
                )
        try:
            metrics = {**running.train(), "seconds": round(monotonic() - began, 1)}
        except Stopped as stopped:
            if running.main:
                say(f"{stopped}; {_how_to_go_on(out)}")
            raise typer.Exit(STOPPED) from None
        except RuntimeError as fault:
            if not (reason := lost_peer(fault)):
                raise
            rank = running.accelerator.process_index
            raise StampError(
                f"process {rank}: another process of the run is gone, or hangs: {reason}",
                "it may have said why; --resume auto goes on from the last checkpoint",
            ) from None
    if running.main:
        print_json({"steps": running.progress.step, **metrics}) if json else _print_metrics(metrics)
        say(f"{out / FINAL}: the finished model")


def _say_changes(resolved: Resolved, out: Path) -> None:
    """What of the recipe is other than when the run began."""
    from stamp_train.recipes import changes, resolve
    from stamp_train.runlog import RECIPE

    if (out / RECIPE).is_file():
        for change in changes(resolve(str(out / RECIPE)), resolved):
            say(f"changed since the run began: {change}")


def _print_metrics(metrics: dict[str, float]) -> None:
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:{width}}  {value:.4g}")
