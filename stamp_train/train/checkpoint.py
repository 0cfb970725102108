"""Checkpoints: everything that a run needs to go on bit by bit, written beside and renamed.

    checkpoints/step-000100/    a Hugging Face folder (or `adapter/`), and
      optimizer.pt              moments of the optimizer
      state.json                steps done, position in the plan, metrics
      checksums.json            of all of them

There are no random states to keep: whatever a step draws is drawn from (seed, step, rank) anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from stamp_data.writing import json_text, replace_folder
from stamp_schemas import StampError
from stamp_schemas.errors import first_line
from stamp_schemas.recipe import Saving
from stamp_train.train.checksums import write_checksums
from stamp_train.train.folder import EARLIER, STATE, Progress, find, read_progress

OPTIMIZER = "optimizer.pt"
_WRITE_FAULTS = (OSError, SafetensorError, RuntimeError)  # what torch and safetensors raise for a full disk


def read_optimizer(checkpoint: Path) -> dict[str, Any]:
    """On the CPU. StampError: the file is damaged, or holds more than tensors and plain values."""
    path = checkpoint / OPTIMIZER
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # a damaged file makes its unpickler raise nearly anything; it runs no code
        raise StampError(f"{path}: damaged: {first_line(fault)}", EARLIER) from fault
    if not isinstance(state, dict):
        raise StampError(f"{path}: not the state of an optimizer", EARLIER)
    return state


def copied(tree: Any, *, keep: bool = True, seen: dict[int, torch.Tensor] | None = None) -> Any:
    """A copy of nested tensors on the CPU, whole where they are in shards; one that comes twice (a tied weight) does so again.

    Where there are shards, which have a method `full_tensor`, all ranks have to call this. keep: whether this rank wants the
    copy; its tensors are empty otherwise. seen: copies so far, by the `id` of the original.
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
    """Writes checkpoints in a thread of its own, one at a time, while training goes on with the next step."""

    def __init__(self, folder: Path, saving: Saving) -> None:
        self.folder = folder
        self.saving = saving
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None
        self._abandoned = False

    def write(self, progress: Progress, optimizer: dict[str, Any], save_model: Callable[[Path], None]) -> None:
        """Begin to write a checkpoint; what is passed must not change any more (`copied`).

        save_model: writes the model into an existing folder. StampError: the checkpoint before this one could not be written.
        """
        self.wait()
        self._pending = self._thread.submit(self._write, progress, optimizer, save_model)

    def wait(self) -> None:
        """Until the last checkpoint is on the disk. StampError: it could not be written; those before it are untouched."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def abandon(self) -> None:
        """Wait for nothing any more; what is half written by then will be taken away by the next run."""
        self._pending, self._abandoned = None, True

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown(wait=not self._abandoned, cancel_futures=True)

    def path(self, progress: Progress) -> Path:
        """Folder of the checkpoint at that step."""
        return self.folder / f"step-{progress.step:06d}"

    def _write(self, progress: Progress, optimizer: dict[str, Any], save_model: Callable[[Path], None]) -> None:
        target = self.path(progress)

        def fill(folder: Path) -> None:
            save_model(folder)
            torch.save(optimizer, folder / OPTIMIZER)
            (folder / STATE).write_bytes(json_text(progress))
            write_checksums(folder)

        try:
            replace_folder(target, fill)
        except _WRITE_FAULTS as fault:
            kept = find(self.folder)
            last = f"the last good one is {kept[-1]}" if kept else "there is none before it"
            reason = getattr(fault, "strerror", None) or str(fault).splitlines()[0]
            raise StampError(f"{target}: not written: {reason}", f"{last}; make room, then --resume auto") from fault
        self._prune(target)

    def _prune(self, newest: Path) -> None:
        """Remove what is neither among the newest nor the best. What is later may be damaged, and stays."""
        found = find(self.folder)
        found = found[: found.index(newest) + 1]
        kept = set(found[-self.saving.keep :])
        if self.saving.best:
            kept.add(max((_score(path, self.saving.best), path) for path in found)[1])
        for path in found:
            if path not in kept:  # renamed first, so that a removal cut short leaves nothing that looks complete
                path.rename(path.with_name(f".{path.name}.old"))
        for gone in self.folder.glob(".step-*.old"):
            shutil.rmtree(gone, ignore_errors=True)


def _score(checkpoint: Path, metric: str) -> float:
    try:
        return read_progress(checkpoint).metrics.get(metric, float("-inf"))
    except StampError:  # damaged: not the best of anything
        return float("-inf")
