"""TensorBoard and Weights & Biases: the numbers of `log.jsonl`, where their pages look for them.

OUT/tensorboard/     event files: `tensorboard --logdir OUT`
OUT/wandb/           the local part of a W&B run; all of it with WANDB_MODE=offline, for `wandb sync`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import msgspec

from stamp_schemas import UsageFault
from stamp_schemas.extras import lacking
from stamp_train.recipes import Resolved
from stamp_train.train.runlog import Row


class Tracker(Protocol):
    """Takes the numbers of every step."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The numbers of one step."""

    def close(self) -> None:
        """Nothing more will come."""


class TensorBoard:
    """Event files. done: steps that the run goes on from; what was written of later ones is hidden."""

    def __init__(self, resolved: Resolved, out: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=done + 1)
        self._writer.add_text("recipe", "".join(f"    {line}\n" for line in resolved.yaml().splitlines()), done)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A W&B run named like the run folder; one that was cut off is taken up again under the same id."""

    def __init__(self, resolved: Resolved, out: Path, done: int) -> None:  # noqa: ARG002 - W&B keeps count itself
        import wandb

        try:
            self._run = wandb.init(
                project="stamp",
                name=out.name,
                dir=str(out),
                config=msgspec.to_builtins(resolved.recipe),
                resume="auto",
                settings=wandb.Settings(console="off", quiet=True),
            )
        except wandb.Error as fault:
            raise UsageFault(
                f"trackers: wandb: {fault}", "log in with `wandb login`, or set WANDB_MODE=offline"
            ) from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def open_trackers(resolved: Resolved, out: Path, done: int) -> list[Tracker]:
    """The trackers that a recipe names, for the main process alone.

    Args:
        resolved: the recipe, which they show.
        out: run folder.
        done: steps that the run goes on from.

    Raises:
        UsageFault: one is not installed, or refuses.
    """
    for name in resolved.recipe.trackers:
        if find_spec(name) is None:
            raise lacking(f"trackers: {name} is not installed", "trackers")
    out.mkdir(parents=True, exist_ok=True)
    return [_TRACKERS[name](resolved, out, done) for name in resolved.recipe.trackers]


def log_row(trackers: Sequence[Tracker], row: Row, metrics: Mapping[str, float]) -> None:
    """Tell trackers every number of a step, and what an evaluation after it measured."""
    values = {name: value for name, value in row.flat().items() if isinstance(value, int | float)}
    del values["step"]
    for tracker in trackers:
        tracker.log(row.step, {**values, **metrics})
