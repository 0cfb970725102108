"""A whole run: the stages of a recipe one after another, with checkpoints that it can be taken up from bit by bit.

OUT/recipe.yaml                  the recipe, every value with its origin
OUT/deepspeed.json               what DeepSpeed was told, of a run by it
OUT/log.jsonl                    one row per step
OUT/evaluations.jsonl            metrics on held-out records
OUT/predictions/                 pictures of some of them, with the true mask and the predicted one
OUT/checkpoints/step-000100/     what to go on from
OUT/quarantine.jsonl             records that could not be read
OUT/final/                       the finished model
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from stamp_data.writing import replace_folder, write_atomic
from stamp_schemas import StampError
from stamp_train.attention.select import check_training
from stamp_train.estimate.architecture import Architecture, measured
from stamp_train.estimate.cost import operations
from stamp_train.estimate.devices import recognised
from stamp_train.estimate.workload import Work
from stamp_train.eval.heldout import Examiner
from stamp_train.eval.sample_images import draw
from stamp_train.launch.heartbeat import Heartbeat
from stamp_train.launch.peers import decide
from stamp_train.launch.signals import Stopped, StopRequest
from stamp_train.methods.stamp.losses import StampLosses, loss_settings
from stamp_train.recipes import Resolved
from stamp_train.recipes.deepspeed import deepspeed_config
from stamp_train.sequence.layout import Layout, LayoutOptions
from stamp_train.stream import StepBatch, StreamLoader
from stamp_train.stream.stage_loader import open_feed, state_of
from stamp_train.stream.stages import open_set, stage_steps
from stamp_train.train.checkpoint import CheckpointWriter, copied, read_optimizer
from stamp_train.train.determinism import make_exact, memory_held
from stamp_train.train.engine import distribute, load_moments, new_optimizer, open_accelerator, weights_of
from stamp_train.train.network import build_network, save_final, save_network, without_weights
from stamp_train.train.panel import Watch, Watched
from stamp_train.train.precision import with_native_precision
from stamp_train.train.resume import Progress, read_progress
from stamp_train.train.runlog import CHECKPOINTS, DEEPSPEED, EVALUATIONS, FINAL, LOG, RECIPE, Measured, Row, RunLog
from stamp_train.train.schedule import learning_rate
from stamp_train.train.step import StepRunner, seed_step
from stamp_train.train.trackers import log_row, open_trackers

PICTURES = "predictions"
_log = logging.getLogger(__name__)
_OTHER_RECIPE = "go on with the recipe that it was written with, or from an earlier checkpoint"


class Run:
    """One process of a run.

    Args:
        resolved: the recipe.
        out: run folder; made if it is not there.
        start: checkpoint to go on from, or what finds it: asked on the main process alone.
        watch: told of every step, on the main process.
        pressed: told of the first Ctrl-C.
        hung: told, in a thread, that another process hangs, before this one ends.

    Raises:
        StampError: sets, weights or checkpoint at fault.
    """

    def __init__(
        self,
        resolved: Resolved,
        out: Path,
        start: Path | Callable[[], Path | None] | None = None,
        watch: Watch | None = None,
        pressed: Callable[[], None] = lambda: None,
        hung: Callable[[StampError], None] = lambda fault: _log.error("%s", fault),
    ) -> None:
        resolved = with_native_precision(resolved)
        self.recipe = resolved.recipe
        self.out = out
        self.watch = watch or (lambda _: None)
        self.pressed = pressed
        make_exact(self.recipe)
        self.accelerator = open_accelerator(self.recipe)
        dtype = torch.bfloat16 if self.recipe.model.precision == "bf16" else torch.float32
        check_training(self.recipe.model.attention, self.accelerator.device, dtype)
        self.heart = Heartbeat(self.accelerator, self.recipe.patience, hung)
        self.start = start = decide(self.accelerator, start) if callable(start) else start
        self.progress = read_progress(start) if start else Progress(step=0, stage=0, stage_step=0, stream={})
        self.stage_steps = [stage_steps(self.recipe, index) for index in range(len(self.recipe.stages))]
        self._check_progress()
        self.trackers = open_trackers(resolved, out, self.progress.step) if self.main else []
        self.network, self.processor = build_network(self.recipe, start)
        self.outline = without_weights(self.network)
        self.prepared = distribute(self.accelerator, self.network, self.recipe)
        self.moments = read_optimizer(start) if start else None
        config = self.network.config
        settings = replace(loss_settings(self.recipe.loss), naming=self.recipe.naming, early=self.recipe.early)
        layout = Layout(self.processor.chat, LayoutOptions.of(config, text_labels=settings.text_labels))
        self.side = layout.options.side
        self.steps = StepRunner(
            self.accelerator, self.prepared, layout, StampLosses(settings), self.recipe.model.attention
        )
        if self.main:
            out.mkdir(parents=True, exist_ok=True)
            write_atomic(out / RECIPE, resolved.yaml().encode())
            if self.recipe.engine == "deepspeed":
                told = msgspec.json.encode(deepspeed_config(self.recipe))
                write_atomic(out / DEEPSPEED, msgspec.json.format(told, indent=2) + b"\n")
            self.log = RunLog(out / LOG, self.progress.step)
            self.evaluations = RunLog(out / EVALUATIONS, self.progress.step)
        self.writer = CheckpointWriter(out / CHECKPOINTS, self.recipe.saving)

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

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)

    def train(self) -> dict[str, float]:
        """Do what is left of the run.

        Returns:
            The metrics of the last evaluation; empty without held-out sets.

        Raises:
            StampError: a loss that is not finite, unreadable data, or a checkpoint that cannot be written.
            Stopped: a signal asked for it; there is a checkpoint of the last step.
            KeyboardInterrupt: a second Ctrl-C; what is being written is left as it is.
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
            self._stage(index)
        self.writer.wait()
        metrics = self.progress.metrics
        if self.main:
            # Of the last checkpoint, which is whole where the network at hand may be in shards.
            last = build_network(self.recipe, self.writer.path(self.progress))
            replace_folder(
                self.out / FINAL, functools.partial(save_final, *last, precision=self.recipe.model.precision)
            )
        for tracker in self.trackers:
            tracker.close()  # only a run that is done: W&B takes up one that was cut off
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return metrics

    def _stage(self, index: int) -> None:
        """What is left of one stage; its weights go on, its optimizer and schedule are its own."""
        going_on = self.progress.stage == index and self.progress.stage_step > 0
        if self.progress.stage < index:
            self.progress = Progress(step=self.progress.step, stage=index, stage_step=0, stream={})
        optimizer = new_optimizer(self.accelerator, self.network, self.recipe)
        if going_on and self.moments is not None:
            load_moments(optimizer, self.moments, str(self.start))
        self.moments = None
        left = self.stage_steps[index] - self.progress.stage_step
        if not left:
            return
        ranks = self.accelerator.process_index, self.accelerator.num_processes
        names = self.network.stamp_config.names if self.recipe.naming else ()
        feed = open_feed(self.recipe, index, self.processor, self.side, *ranks, self.out, names)
        if going_on:
            feed.load_state_dict(self.progress.stream)
        stream: Any = iter(feed)
        with contextlib.closing(stream) as batches:  # its threads end with it
            for batch in itertools.islice(batches, left):
                self._step(index, optimizer, feed, batch)
        if self.progress.stage_step < self.stage_steps[index]:
            raise StampError(f"stage {self.recipe.stages[index].name}: its stream ended early")

    def _step(self, index: int, optimizer: Any, feed: StreamLoader, batch: StepBatch) -> None:
        self.heart.beat()  # the batch is there
        began, done = time.perf_counter(), self.progress
        stage, total = self.recipe.stages[index], self.stage_steps[index]
        rate = learning_rate(self.recipe.optimizer, done.stage_step, total, stage.schedule)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        seed_step(self.recipe.seed, done.step, self.accelerator.process_index)
        number = done.step + 1
        result = self.steps.gradients(batch.packs, self.recipe.optimizer.clip, f"step {number} ({batch.digest})")
        optimizer.step()
        optimizer.zero_grad()
        self.progress = Progress(step=number, stage=index, stage_step=done.stage_step + 1, stream=state_of(feed))
        row = Row(
            step=number,
            stage=stage.name,
            loss=result.loss,
            losses=result.losses,
            lr=rate,
            grad_norm=result.grad_norm,
            dialogues=batch.dialogues,
            tokens=int(result.work.tokens),
            padding=result.padding,
            batch_digest=batch.digest,
            seconds=time.perf_counter() - began,
        )
        self._after(row, optimizer, result.work)

    def _after(self, row: Row, optimizer: Any, work: Work) -> None:
        """What follows a step: its row, and an evaluation and a checkpoint where they are due."""
        recipe, done = self.recipe, self.progress
        if self.main:
            self.log.add(row)
        stage_ends = done.stage_step == self.stage_steps[done.stage]
        ends = stage_ends and done.stage + 1 == len(self.stage_steps)
        every = recipe.evaluation.every
        if recipe.evaluation.sets and (ends or (every and done.step % every == 0)):
            done = self._evaluate()
        log_row(self.trackers, row, self.progress.metrics)
        if self.main:
            needed = operations(recipe, self._sizes, work)
            held = memory_held()
            self.watch(Watched(row, sum(self.stage_steps), self.progress.metrics, held, needed, self._peak))
        self.heart.beat()  # what only some processes do is done
        asked, by_hand = self.stop.agreed()
        stopping = asked and not ends
        compared = bool(recipe.saving.best and done.metrics)  # whether it is the best is seen when it is saved
        if stage_ends or stopping or compared or done.step % recipe.saving.every == 0:
            self._save(optimizer)
        if stopping:
            self.writer.wait()
            self.accelerator.wait_for_everyone()  # a process that ends takes the others along, even one that still writes
            self.accelerator.end_training()
            raise Stopped(done.step, by_hand=by_hand)

    @functools.cached_property
    def _sizes(self) -> Architecture:
        return measured(self.network.config, self.recipe.model)

    @functools.cached_property
    def _peak(self) -> float:
        """Operations per second of all devices as their makers state them, for bfloat16; 0 where that is not known."""
        found = recognised(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
        if found is None or self.recipe.model.precision != "bf16":
            return 0.0
        return found.teraflops * 1e12 * int(self.accelerator.num_processes)

    @functools.cached_property
    def _examiner(self) -> Examiner:
        evaluation = self.recipe.evaluation
        sets = [open_set(self.recipe.data, name) for name in evaluation.sets]
        layout = Layout(self.processor.chat, LayoutOptions.of(self.network.config))
        return Examiner(sets, evaluation.records, layout, self.processor, evaluation.upsampling)

    def _evaluate(self) -> Progress:
        metrics, shown = self._examiner.examine(
            self.network, self.accelerator, self.recipe.model.attention, self.recipe.evaluation.pictures
        )
        self.progress = msgspec.structs.replace(self.progress, metrics=metrics)
        if self.main:
            self.evaluations.add(Measured(step=self.progress.step, metrics=metrics))
            draw(shown, self.out / PICTURES)
        return self.progress

    def _save(self, optimizer: Any) -> None:
        """Begin a checkpoint; the copy that is written does not change with the steps that follow."""
        weights = copied(weights_of(self.network, self.recipe), keep=self.main)
        moments = copied(optimizer.state_dict(), keep=self.main)
        if self.main:
            save = functools.partial(save_network, self.outline, self.processor, weights=weights)
            with self.heart.excused():  # the one before may not be written yet
                self.writer.write(self.progress, moments, save)
