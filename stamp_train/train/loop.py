"""The stages of a recipe one after another, with checkpoints that a run can be taken up from bit by bit."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate import Accelerator

from stamp_data.writing import json_text, replace_folder, write_atomic
from stamp_schemas import StampError
from stamp_train.attention.select import check_training
from stamp_train.backbones.processor import StampProcessor
from stamp_train.estimate.architecture import architecture
from stamp_train.estimate.cost import operations
from stamp_train.estimate.workload import Work
from stamp_train.launch.heartbeat import Heartbeat
from stamp_train.launch.peers import decide
from stamp_train.launch.signals import Stopped, StopRequest
from stamp_train.methods.contract import Method
from stamp_train.recipes import Resolved
from stamp_train.recipes.deepspeed import deepspeed_config
from stamp_train.sequence.layout import Layout
from stamp_train.stream.examples import prepare_with
from stamp_train.stream.loader import StepBatch, StreamLoader, stage_loader
from stamp_train.stream.stages import stage_steps
from stamp_train.train.checkpoint import CheckpointWriter, copied, read_optimizer
from stamp_train.train.engine import distribute, load_moments, new_optimizer, open_accelerator, weights_of
from stamp_train.train.folder import CHECKPOINTS, DEEPSPEED, EVALUATIONS, FINAL, LOG, RECIPE, Progress, read_progress
from stamp_train.train.machine import make_exact, memory_held, peak_speed, with_native_precision
from stamp_train.train.network import build_network, save_final, save_network, without_weights
from stamp_train.train.optimizer import learning_rate
from stamp_train.train.panel import Watch, Watched
from stamp_train.train.runlog import Measured, Row, RunLog
from stamp_train.train.step import StepRunner, seed_step
from stamp_train.train.trackers import open_trackers

_log = logging.getLogger(__name__)
_OTHER_RECIPE = "go on with the recipe that it was written with, or from an earlier checkpoint"

Score = Callable[[Any, StampProcessor, Accelerator, int], dict[str, float]]
"""Metrics of a network on held-out records, after so many steps. All processes call it together and get the same."""


class Run:
    """One process of a run; `train` does what is left of it.

    start: checkpoint to go on from, or what finds it, which is asked on the main process alone. score: for `evaluation` of the
    recipe. watch: told of every step, on the main process. pressed: told of the first Ctrl-C. hung: told, in a thread, that
    another process hangs, before this one ends. StampError: sets, weights or checkpoint at fault.
    """

    def __init__(
        self,
        resolved: Resolved,
        out: Path,
        start: Path | Callable[[], Path | None] | None = None,
        *,
        score: Score | None = None,
        watch: Watch = lambda _: None,
        pressed: Callable[[], None] = lambda: None,
        hung: Callable[[StampError], None] = lambda fault: _log.error("%s", fault),
    ) -> None:
        resolved = with_native_precision(resolved)
        self.recipe, self.out = resolved.recipe, out
        self.score, self.watch, self.pressed = score, watch, pressed
        make_exact(self.recipe)
        self.accelerator = open_accelerator(self.recipe)
        half = self.recipe.model.precision == "bf16"
        check_training(self.recipe.model.attention, self.accelerator.device, torch.bfloat16 if half else torch.float32)
        self.heart = Heartbeat(self.accelerator, self.recipe.patience, hung)

        self.start = decide(self.accelerator, start) if callable(start) else start
        self.progress = read_progress(self.start) if self.start else Progress()
        self.stage_steps = [stage_steps(self.recipe, index) for index in range(len(self.recipe.stages))]
        self._check_progress()
        self.trackers = open_trackers(resolved, out, self.progress.step) if self.main else []

        self.network, self.processor = build_network(self.recipe, self.start)
        self.moments = read_optimizer(self.start) if self.start else None
        self.outline = without_weights(self.network)
        prepared = distribute(self.accelerator, self.network, self.recipe)
        self.method: Method = self.network.method
        positions = self.network.config.text_config.max_position_embeddings
        layout = Layout(self.processor.chat, self.method, positions, text_labels=self.method.text_labels)
        self.steps = StepRunner(self.accelerator, prepared, layout, self.method, self.recipe.model.attention)

        self.writer = CheckpointWriter(out / CHECKPOINTS, self.recipe.saving)
        if self.main:
            self._begin_folder(resolved)
            self.sizes = architecture(self.recipe, self.network.config)
            self.peak = peak_speed(self.recipe.model.precision) * int(self.accelerator.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)

    def _check_progress(self) -> None:
        """Refuse a checkpoint that is further than the recipe goes."""
        stages, done = [stage.name for stage in self.recipe.stages], self.progress
        if done.stage >= len(stages):
            raise StampError(f"{self.start}: is of stage {done.stage + 1}, the recipe has {len(stages)}", _OTHER_RECIPE)
        if done.stage_step > self.stage_steps[done.stage]:
            steps = f"{done.stage_step:,} steps of stage {stages[done.stage]}"
            raise StampError(
                f"{self.start}: {steps} are done, the recipe has {self.stage_steps[done.stage]:,}", _OTHER_RECIPE
            )

    def _begin_folder(self, resolved: Resolved) -> None:
        """What the run writes before its first step; logs lose the rows of steps that will be done again."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.out / RECIPE, resolved.yaml().encode())
        if self.recipe.engine == "deepspeed":
            write_atomic(self.out / DEEPSPEED, json_text(deepspeed_config(self.recipe)))
        self.log = RunLog(self.out / LOG, self.progress.step)
        self.evaluations = RunLog(self.out / EVALUATIONS, self.progress.step)

    def train(self) -> dict[str, float]:
        """Do what is left of the run; returns the metrics of its last evaluation, if there was one after the last step.

        StampError: a loss that is not finite, unreadable data, or a checkpoint that cannot be written. Stopped: a signal asked
        for it; there is a checkpoint of the last step. KeyboardInterrupt: a second Ctrl-C; what is being written is left as it
        is.
        """
        with StopRequest(self.accelerator, self.pressed) as self.stop, self.heart:
            try:
                return self._train()
            except KeyboardInterrupt:
                self.writer.abandon()
                raise
            finally:
                self.writer.close()

    def _train(self) -> dict[str, float]:
        for index in range(self.progress.stage, len(self.recipe.stages)):
            optimizer = self._begin_stage(index)
            left = self.stage_steps[index] - self.progress.stage_step
            with self._batches(index, left) as batches:
                for batch in batches:
                    row, work = self._step(optimizer, batch)
                    self._evaluate()
                    self._tell(row, work)
                    self._save(optimizer)
            if self.progress.stage_step < self.stage_steps[index]:
                raise StampError(f"stage {self.recipe.stages[index].name}: its stream ended early")
        return self._finish()

    def _begin_stage(self, index: int) -> Any:
        """The optimizer of a stage: weights go on from the one before, moments and schedule are its own."""
        if self.progress.stage < index:
            self.progress = Progress(step=self.progress.step, stage=index)
        optimizer = new_optimizer(self.accelerator, self.network, self.recipe)
        if self.moments is not None and self.progress.stage_step:
            load_moments(optimizer, self.moments, str(self.start))
        self.moments = None
        return optimizer

    @contextlib.contextmanager
    def _batches(self, index: int, left: int) -> Iterator[Iterable[StepBatch]]:
        """The next `left` batches of a stage, from where the run stands in it."""
        if not left:
            yield ()
            return
        ranks = self.accelerator.process_index, self.accelerator.num_processes
        prepare = prepare_with(self.processor)
        self.loader: StreamLoader = stage_loader(self.recipe, index, prepare, self.method, *ranks, self.out)
        if self.progress.stream:
            self.loader.load_state_dict(self.progress.stream)
        stream: Any = iter(self.loader)
        with contextlib.closing(stream):  # its threads end with it
            yield itertools.islice(stream, left)

    def _step(self, optimizer: Any, batch: StepBatch) -> tuple[Row, Work]:
        """One step of the optimizer; `progress` is then behind it, and its row in the log."""
        self.heart.beat()  # the batch is there
        began, done, settings = time.perf_counter(), self.progress, self.recipe.optimizer
        stage = self.recipe.stages[done.stage]
        rate = learning_rate(settings, done.stage_step, self.stage_steps[done.stage])
        for group in optimizer.param_groups:
            group["lr"] = rate
        seed_step(self.recipe.seed, done.step, self.accelerator.process_index)
        number = done.step + 1
        result = self.steps.gradients(batch.packs, settings.clip, f"step {number} ({batch.whole.digest})")
        optimizer.step()
        optimizer.zero_grad()
        self.progress = Progress(
            step=number, stage=done.stage, stage_step=done.stage_step + 1, stream=self.loader.state_dict()
        )
        row = Row(
            step=number,
            stage=stage.name,
            loss=result.loss,
            losses=result.losses,
            lr=rate,
            grad_norm=result.grad_norm,
            dialogues=batch.whole.dialogues,
            tokens=int(result.work.tokens),
            padding=result.padding,
            batch_digest=batch.whole.digest,
            seconds=time.perf_counter() - began,
            memory=round(memory_held(), 3),
        )
        if self.main:
            self.log.add(row.flat())
        return row, result.work

    @property
    def _stage_ends(self) -> bool:
        return self.progress.stage_step == self.stage_steps[self.progress.stage]

    @property
    def _ends(self) -> bool:
        return self._stage_ends and self.progress.stage + 1 == len(self.stage_steps)

    def _evaluate(self) -> None:
        """Score held-out records where that is due."""
        asked, step = self.recipe.evaluation, self.progress.step
        if not (self.score and asked.sets and (self._ends or (asked.every and step % asked.every == 0))):
            return
        metrics = self.score(self.network, self.processor, self.accelerator, step)
        self.progress = msgspec.structs.replace(self.progress, metrics=metrics)
        if self.main:
            self.evaluations.add(Measured(step=step, metrics=metrics))

    def _tell(self, row: Row, work: Work) -> None:
        """Show a step to whoever watches."""
        metrics = self.progress.metrics
        numbers = {
            name: value for name, value in row.flat().items() if isinstance(value, int | float) and name != "step"
        }
        for tracker in self.trackers:
            tracker.log({**numbers, **metrics}, step=row.step)
        if self.main:
            needed = operations(self.recipe, self.sizes, work)
            self.watch(Watched(row, sum(self.stage_steps), metrics, needed, self.peak))
        self.heart.beat()  # what only some processes do is done

    def _save(self, optimizer: Any) -> None:
        """A checkpoint where it is due; Stopped, after it is written, where the run was asked to stop."""
        asked, by_hand = self.stop.agreed()
        stopping = asked and not self._ends
        saving, done = self.recipe.saving, self.progress
        compared = bool(saving.best and done.metrics)  # whether it is the best is seen when it is saved
        if self._stage_ends or stopping or compared or done.step % saving.every == 0:
            self._begin_checkpoint(optimizer)
        if stopping:
            self.writer.wait()
            self._part()
            raise Stopped(done.step, by_hand=by_hand)

    def _begin_checkpoint(self, optimizer: Any) -> None:
        """Copy what a checkpoint holds and have it written; the copy does not change with the steps that follow."""
        weights = copied(weights_of(self.network, self.recipe), keep=self.main)
        moments = copied(optimizer.state_dict(), keep=self.main)
        if self.main:
            save = functools.partial(save_network, self.outline, self.processor, weights=weights)
            with self.heart.excused():  # the one before may not be written yet
                self.writer.write(self.progress, moments, save)

    def _finish(self) -> dict[str, float]:
        """Write the finished model."""
        self.writer.wait()
        if self.main:
            # Of the last checkpoint, which is whole where the network at hand may be in shards.
            last = build_network(self.recipe, self.writer.path(self.progress))
            save = functools.partial(save_final, *last, precision=self.recipe.model.precision)
            replace_folder(self.out / FINAL, save)
        for tracker in self.trackers:
            tracker.finish()  # only a run that is done: W&B takes up one that was cut off
        self._part()
        return self.progress.metrics

    def _part(self) -> None:
        """Until all processes have come as far: one that ends takes the others along, even one that still writes."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.device.type != "cpu":
            # NCCL wants to be told. What gloo has ends with the process, and taking it apart is what a process did last that
            # died of a segfault after its last step (once seen, not found out why).
            self.accelerator.end_training()
