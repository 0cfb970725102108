"""Small shard sets and whole runs on them, as real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.synth import synthesize
from stamp_train.eval.heldout import held_out_score
from stamp_train.recipes import Resolved
from stamp_train.train.loop import Run

from ..warm import Running, warm

FORKING = Path(__file__).with_name("forking.py")
TIMEOUT = 300  # seconds
RECIPE = """
about: two short stages on a few small scenes
model: {preset: tiny, precision: float32}
method: {head_width: 16}
data: {min_tokens: 4, max_tokens: 16, threads: 1}
batch: {dialogues: 8, dialogues_per_image: 2, pack_tokens: 600}
optimizer: {learning_rate: 2.0e-3}
stages:
  - {name: first, steps: 6, sets: [{set: refcoco-unc/train}, {set: llava/train}]}
  - {name: second, steps: 4, sets: [{set: grefcoco-unc/train, passes: 2}]}
evaluation: {sets: [refcoco-unc/val], records: 2, images: 1}
saving: {every: 2, keep: 2}
threads: 1
"""


def make_shards(folder: Path, names: tuple[str, ...] = ("refcoco", "grefcoco", "llava"), **settings: Any) -> Path:
    """Built sets of 96x64 pictures, small enough for 2x3 merged patches."""
    synthesize(folder / "raw", images=48, size=(96, 64))
    job = Job(
        names=names, root=folder / "raw", out=folder / "shards", **{"min_tokens": 4, "max_tokens": 16, **settings}
    )
    executor = LocalExecutor(1)
    try:
        for _ in run_job(job, executor, lambda *_: None):
            pass
    finally:
        executor.close()
    return folder / "shards"


def write_recipe(folder: Path) -> Path:
    """The recipe of these tests as a file."""
    path = folder / "two-stages.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def command(recipe: Path, shards: Path, out: Path, *more: str, processes: int = 1) -> list[str]:
    """A `stamp-train run` in so many processes."""
    arguments = _arguments(recipe, shards, out, *more)
    return [sys.executable, "-m", "stamp_cli.train", *arguments, "--processes", str(processes)]


def _arguments(recipe: Path, shards: Path, out: Path, *more: str) -> list[str]:
    return ["run", str(recipe), "--set", f"data.root={shards}", "--out", str(out), *more]


def train(recipe: Path, shards: Path, out: Path, *more: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run to the end, in processes that are there already; `command` is how users start them."""
    return begin(recipe, shards, out, *more, processes=processes).wait(TIMEOUT)


def begin(recipe: Path, shards: Path, out: Path, *more: str, processes: int = 1) -> Running:
    """As `train`, but for waiting: to disturb it."""
    return warm.start("stamp-train", *_arguments(recipe, shards, out, *more), processes=processes)


def launch(recipe: Path, shards: Path, out: Path, *more: str, processes: int = 2) -> Running:
    """As `begin`, by the launcher of the command: the process that is waited for, whose children train."""
    return warm.start("python", FORKING, *_arguments(recipe, shards, out, *more), "--processes", processes)


def run(resolved: Resolved, out: Path, start: Path | None = None, **more: Any) -> dict[str, float]:
    """A whole run in this process, which scores its held-out sets as the command has it; its last metrics."""
    return Run(resolved, out, start, score=held_out_score(resolved.recipe, out), **more).train()


def log_of(out: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, without what clock and machine decide; a row that is being written is left out."""
    lines = (out / "log.jsonl").read_bytes().split(b"\n")[:-1]
    rows = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
    return [{key: value for key, value in row.items() if key not in ("seconds", "memory")} for row in rows]
