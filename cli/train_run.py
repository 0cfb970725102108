"""`stamp-train run`."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from stamp_cli import train_launch as at
from stamp_cli.console import INTERRUPTED, hide_loading_bars, only_for, panels, print_json, say
from stamp_cli.make import Json
from stamp_cli.train_recipes import Overrides, show_dry_run
from stamp_train.launch import is_first, is_worker, parse_nodes, restarted
from stamp_train.launch.signals import StoppedEarly, heard_early, listen

if TYPE_CHECKING:
    from stamp_schemas import StampError
    from stamp_train.recipes import Resolved

(PLAN,) = panels("Dry run")


def run(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A recipe (see `stamp-train recipes`) or a YAML file.")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; runs/RECIPE if not given.")] = None,
    resume: Annotated[
        str,
        typer.Option(
            help="auto: go on from the newest checkpoint of the run folder, by its recipe.yaml and what --set changes; "
            "or a checkpoint's folder."
        ),
    ] = "",
    base: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="With --resume: the model that a LoRA run began with, if it has moved."),
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
    dry: Annotated[bool, PLAN("--dry-run", help="Check every path, print what the run costs, and stop.")] = False,
    device: Annotated[str, PLAN(help="What --dry-run reckons with, such as h100; this machine if not given.")] = "",
    devices: Annotated[
        int | None,
        PLAN(min=1, help="How many of them; if not given, --processes on --nodes, else those of this machine."),
    ] = None,
) -> None:
    """Train: all stages of a recipe, checkpoints on the way, the finished model in OUT/final.

    SIGTERM or SIGUSR1 end it after the step that it is at, with a checkpoint and exit code 75. So does Ctrl-C, with exit code
    130; a second Ctrl-C stops at once.
    """
    from stamp_train.launch.slurm import Job, parse_options
    from stamp_train.recipes.deepspeed import check_deepspeed

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # its warnings are stacks of C++ calls
    only_for(context, "--dry-run", dry, "device", "devices")
    overrides = [*(overrides or ()), *([f"model.start={base}"] if base else [])]
    resolved, folder, told = _resolved(recipe, overrides, out, resume, base, begins=not dry or bool(out or resume))
    if dry:
        _say_all(told)
        asked = parse_nodes(nodes or "1")[1] * (processes or gpus_per_node or 0)
        return _dry_run(resolved, device, devices or asked or None, json)
    check_deepspeed(resolved.recipe)
    at.refuse_strangers(context, launcher)
    again = at.arguments(recipe, overrides, folder, resume or ("auto" if launcher == "slurm" else ""), json)
    try:
        if is_worker():
            _as_worker(resolved, folder, resume, json)
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
                cores=max(resolved.recipe.threads, 1) + resolved.recipe.data.threads,
            )
            _say_all(told)
            return at.submit(again, job, folder, print_script)
        with heard_early():
            if launcher == "torchrun":
                _say_all(told)
                return at.start_node(again, nodes, node_rank, rendezvous, processes, max_restarts)
            if (processes or 1) > 1 or max_restarts:
                with _alone(folder):  # so too here, before any process is started
                    _say_all(told)
                return at.start_here(again, processes or 1, max_restarts)
            return _train(resolved, folder, resume, json, told)
    except KeyboardInterrupt as asked_to:
        # At once: a normal exit would wait for the checkpoint that a thread may still write.
        if is_worker():
            os._exit(1)  # who started it says the rest
        say(f"stopped; {_how_to_go_on(folder)}")
        if isinstance(asked_to, StoppedEarly):
            signal.signal(asked_to.number, signal.SIG_DFL)
            os.kill(os.getpid(), asked_to.number)
        os._exit(INTERRUPTED)


def _resolved(
    recipe: str, overrides: Sequence[str], out: Path | None, resume: str, base: str, *, begins: bool
) -> tuple[Resolved, Path, list[str]]:
    """What a run goes by, its folder, and what is to be said of both; `begins`: whether the folder is going to be used."""
    from stamp_schemas import UsageFault
    from stamp_train.recipes import resolve

    resolved = resolve(recipe, overrides)
    folder = out or Path("runs", resolved.name)
    if not (there := next(path for path in (folder, *folder.parents) if path.exists())).is_dir():
        raise UsageFault(f"--out {folder}: {there} is no folder", "give another --out")
    told: list[str] = []
    if begins:
        resolved, told = _continued(resolved, folder, overrides, _find_start(folder, resume))
    if base and not (resume and resolved.recipe.model.tuning == "lora"):
        raise UsageFault(
            "--base goes with --resume of a LoRA run alone", "--set model.start=FOLDER begins with a model"
        )
    return resolved, folder, told


def _say_all(told: Sequence[str]) -> None:
    for line in told:
        say(line)


def _dry_run(resolved: Resolved, device: str, devices: int | None, json: bool) -> None:
    from dataclasses import asdict

    from stamp_train.estimate.devices import machine
    from stamp_train.estimate.dryrun import dry_run

    used = machine(device, devices)
    found = dry_run(resolved.recipe, used.device, used.count)
    if json:
        return print_json({**asdict(found), "device": used.name, "devices": used.count})
    return show_dry_run(resolved, found, used)


def _find_start(out: Path, resume: str, *, whole: bool = False) -> Path | None:
    """As asked for; but what a scheduler started anew goes on from its own checkpoints. whole: pass over damaged ones."""
    from stamp_train.train.folder import CHECKPOINTS, find
    from stamp_train.train.resume import find_start, find_whole

    own = restarted() and (find(out / CHECKPOINTS) or not resume)
    return (find_whole if whole else find_start)(out, "auto" if own else resume)


def _continued(asked: Resolved, out: Path, overrides: Sequence[str], start: Path | None) -> tuple[Resolved, list[str]]:
    """The recipe to go on by, and what of it is not as it was, or not as called: to be said once, when the folder is ours."""
    from stamp_train.train.resume import begun_anew, continued, forked

    if start is None:
        return asked, begun_anew(out)
    from stamp_train.train.machine import with_native_precision

    computed = with_native_precision(asked)  # as a run's folder has it
    if start.resolve().is_relative_to(out.resolve()):
        return continued(computed, out, overrides)
    return asked, forked(computed, start)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder for as long; one in which nothing was written does not stay."""
    from stamp_data.writing import hold

    out.mkdir(parents=True, exist_ok=True)
    try:
        with hold(out, "run"):
            yield
    finally:
        with suppress(OSError):
            out.rmdir()


def _how_to_go_on(out: Path) -> str:
    from stamp_train.train.folder import CHECKPOINTS, LOG, find

    if found := find(out / CHECKPOINTS):
        return f"--resume auto goes on from {found[-1]}"
    log = out / LOG
    if log.exists() and log.stat().st_size:
        return "there is no checkpoint yet"
    return "nothing was saved, since no step was done: the same command begins anew"


def _as_worker(resolved: Resolved, out: Path, resume: str, json: bool) -> NoReturn:
    """One process of several. It ends at once: threads of libraries have aborted, or held up, interpreters that took leave."""
    faulthandler.enable()  # should a library crash, it says where
    listen()
    code = 0
    try:
        _train(resolved, out, resume, json)
    except typer.Exit as end:
        code = end.exit_code
    sys.stdout.flush()
    os._exit(code)


def _train(resolved: Resolved, out: Path, resume: str, json: bool, told: Sequence[str] = ()) -> None:
    """One process of a run. told: what is to be said first, once the folder is known to be nobody else's."""
    from stamp_schemas import StampError
    from stamp_train.eval.heldout import held_out_score
    from stamp_train.launch.peers import lost_peer
    from stamp_train.launch.signals import STOPPED, Stopped
    from stamp_train.train.folder import FINAL
    from stamp_train.train.loop import Run
    from stamp_train.train.panel import watching

    began = monotonic()
    hide_loading_bars()
    with _alone(out) if is_first() else nullcontext(), watching() if is_first() else nullcontext() as watch:
        _say_all(told)
        running = Run(
            resolved,
            out,
            partial(_find_start, out, resume, whole=True),
            score=held_out_score(resolved.recipe, out),
            watch=watch or (lambda _: None),
            pressed=_pressed,
            hung=_hung,
        )
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
            raise typer.Exit(INTERRUPTED if stopped.by_hand else STOPPED) from None
        except RuntimeError as fault:
            if not (reason := lost_peer(fault)):
                raise
            if running.heart.found:
                raise typer.Exit(1) from None  # one of the processes says which of them hangs
            rank = running.accelerator.process_index
            raise StampError(
                f"process {rank}: another process of the run is gone, or hangs: {reason}",
                f"it may have said why; {_how_to_go_on(out)}",
            ) from None
    if running.main:
        print_json({"steps": running.progress.step, **metrics}) if json else _print_metrics(metrics)
        say(f"{out / FINAL}: the finished model")


def _pressed() -> None:
    if is_first():  # past Python's buffers, which the signal may have come in the middle of
        os.write(2, b"stopping after this step, with a checkpoint; Ctrl-C again stops at once\n")


def _hung(fault: StampError) -> None:
    say(f"error: {fault.message}\nhint: {fault.hint}")


def _print_metrics(metrics: dict[str, float]) -> None:
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:{width}}  {value:.4g}")
