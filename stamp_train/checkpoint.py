"""Checkpoints: everything that a run needs to go on bit by bit, written beside and renamed.

    checkpoints/step-000100/    a Hugging Face folder (or `adapter/`), and
      optimizer.pt              moments of the optimizer
      state.json                steps done, position in the plan, metrics

There are no random states to keep: whatever a step draws is drawn from (seed, step, rank) anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError

from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Saving
from stamp_train.files import replace_folder
from stamp_train.runlog import CHECKPOINTS, FINAL

STATE, OPTIMIZER = "state.json", "optimizer.pt"
_WRITE_FAULTS = (OSError, SafetensorError, RuntimeError)  # what torch and safetensors raise for a full disk


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is.

    step: optimizer steps done, over all stages. stage: index of the stage. stage_step: steps of that stage done.
    stream: the loader's state. metrics: of the last evaluation, if it was at this step.
    """

    step: int
    stage: int
    stage_step: int
    stream: dict[str, Any]
    metrics: dict[str, float] = {}


def find(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    complete = (path for path in folder.glob("step-*") if (path / STATE).is_file())
    return sorted(complete, key=lambda path: (len(path.name), path.name))  # the millionth step has a digit more


def read_progress(checkpoint: Path) -> Progress:
    """How far the run was.

    Raises:
        UsageFault: the folder is no checkpoint of ours.
    """
    try:
        return msgspec.json.decode((checkpoint / STATE).read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError) as fault:
        raise UsageFault(f"{checkpoint}: not a checkpoint of a run: {fault}") from None


def find_start(out: Path, resume: str) -> Path | None:
    """The checkpoint to go on from, or None to begin.

    Args:
        out: run folder.
        resume: empty, `auto`, or a checkpoint's folder.

    Raises:
        UsageFault: the run folder holds a run already and nobody asked to go on with it.
    """
    found = find(out / CHECKPOINTS)
    if resume == "auto":
        return found[-1] if found else None
    if resume:
        read_progress(Path(resume))
        return Path(resume)
    if found or (out / FINAL).exists():
        raise UsageFault(f"{out} holds a run already", "--resume auto goes on with it; --out names another folder")
    return None


def read_optimizer(checkpoint: Path) -> dict[str, Any]:
    """State of the optimizer, on the CPU.

    Raises:
        StampError: the file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as fault:
        raise StampError(f"{checkpoint / OPTIMIZER}: damaged: {fault}", "resume from an earlier checkpoint") from None
    return state


def copied(tree: Any, *, keep: bool = True, seen: dict[int, torch.Tensor] | None = None) -> Any:
    """A copy of nested tensors on the CPU, whole where they are in shards; one that comes twice (a tied weight) does so again.

    Args:
        tree: dicts, lists and tuples of tensors and other values. Where there are shards, which have a method `full_tensor`,
            all ranks have to call this.
        keep: whether this rank wants the copy; its tensors are empty otherwise.
        seen: copies so far, by the `id` of the original.
    """
    seen = {} if seen is None else seen
    gather = getattr(tree, "full_tensor", None)
    if gather or isinstance(tree, torch.Tensor):
        if id(tree) not in seen:
            whole = (gather() if gather else tree).detach()
            seen[id(tree)] = whole.to("cpu", copy=True) if keep else torch.empty(0)
        return seen[id(tree)]
    if isinstance(tree, dict):
        return {key: copied(value, keep=keep, seen=seen) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(copied(value, keep=keep, seen=seen) for value in tree)
    return tree


class CheckpointWriter:
    """Writes checkpoints in a thread of its own, one at a time, while training goes on with the next step.

    Args:
        folder: `checkpoints/` of the run.
        saving: how many stay, and by which metric the best one.
    """

    def __init__(self, folder: Path, saving: Saving) -> None:
        self.folder = folder
        self.saving = saving
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def write(self, progress: Progress, optimizer: dict[str, Any], save_model: Callable[[Path], None]) -> None:
        """Begin to write a checkpoint; what is passed must not change any more (`copied`).

        Args:
            progress: how far the run is.
            optimizer: state of the optimizer.
            save_model: writes the model into an existing folder.

        Raises:
            StampError: the checkpoint before this one could not be written.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, progress, optimizer, save_model)

    def wait(self) -> None:
        """Wait for the last checkpoint to be on the disk.

        Raises:
            StampError: it could not be written; those before it are untouched.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def path(self, progress: Progress) -> Path:
        """Folder of the checkpoint at that step."""
        return self.folder / f"step-{progress.step:06d}"

    def _write(self, progress: Progress, optimizer: dict[str, Any], save_model: Callable[[Path], None]) -> None:
        target = self.path(progress)

        def fill(folder: Path) -> None:
            save_model(folder)
            torch.save(optimizer, folder / OPTIMIZER)
            (folder / STATE).write_bytes(msgspec.json.format(msgspec.json.encode(progress), indent=2) + b"\n")

        try:
            replace_folder(target, fill)
        except _WRITE_FAULTS as fault:
            kept = find(self.folder)
            last = f"the last good one is {kept[-1]}" if kept else "there is none before it"
            reason = getattr(fault, "strerror", None) or str(fault).splitlines()[0]
            raise StampError(f"{target}: not written: {reason}", f"{last}; make room, then --resume auto") from fault
        self._prune()

    def _prune(self) -> None:
        """Remove what is neither among the newest nor the best."""
        found = find(self.folder)
        kept = set(found[-self.saving.keep :])
        if self.saving.best:
            scored = [(read_progress(path).metrics.get(self.saving.best, float("-inf")), path) for path in found]
            kept.add(max(scored)[1])
        for path in found:
            if path not in kept:
                (path / STATE).unlink()  # first, so that a removal cut short leaves nothing that looks complete
                shutil.rmtree(path)
