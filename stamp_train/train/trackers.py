"""TensorBoard and Weights & Biases, through accelerate: the numbers of `log.jsonl`, where their pages look for them.

OUT/tensorboard/     event files: `tensorboard --logdir OUT`
OUT/wandb/           the local part of a W&B run; all of it with WANDB_MODE=offline, for `wandb sync`
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec
from accelerate.tracking import GeneralTracker, TensorBoardTracker, WandBTracker

from stamp_schemas import UsageFault
from stamp_schemas.extras import lacking
from stamp_train.recipes import Resolved


def open_trackers(resolved: Resolved, out: Path, done: int) -> list[GeneralTracker]:
    """The trackers that a recipe names, which show it; for the main process alone.

    done: steps that the run goes on from. UsageFault: one is not installed, or refuses.
    """
    for name in resolved.recipe.trackers:
        if find_spec(name) is None:
            raise lacking(f"trackers: {name} is not installed", "trackers")
    out.mkdir(parents=True, exist_ok=True)
    return [
        {"tensorboard": _tensorboard, "wandb": _wandb}[name](resolved, out, done) for name in resolved.recipe.trackers
    ]


def _tensorboard(resolved: Resolved, out: Path, done: int) -> GeneralTracker:
    """What was written of steps after `done` is hidden."""
    tracker = TensorBoardTracker("tensorboard", out, purge_step=done + 1)
    tracker.start()
    tracker.writer.add_text("recipe", "".join(f"    {line}\n" for line in resolved.yaml().splitlines()), done)
    return tracker


def _wandb(resolved: Resolved, out: Path, done: int) -> GeneralTracker:  # noqa: ARG001 - W&B keeps count itself
    """A run named like the run folder; one that was cut off is taken up again under the same id."""
    import wandb

    tracker = WandBTracker(
        "stamp",
        name=out.name,
        dir=str(out),
        config=msgspec.to_builtins(resolved.recipe),
        resume="auto",
        settings=wandb.Settings(console="off", quiet=True),
    )
    try:
        tracker.start()
    except wandb.Error as fault:
        raise UsageFault(f"trackers: wandb: {fault}", "log in with `wandb login`, or set WANDB_MODE=offline") from None
    return tracker
