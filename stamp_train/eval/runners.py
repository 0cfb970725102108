"""Who answers: a model, or the labels that one is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from stamp_data.grid import patch_grid
from stamp_schemas import UsageFault
from stamp_train.attention.select import resolve
from stamp_train.eval.card import Choices, Opened
from stamp_train.eval.cases import Case, ImageCases
from stamp_train.eval.representation import Representation, named
from stamp_train.eval.scoring import FORCED
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.replies import Answer
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.patches import coverage_logits
from stamp_train.predict.opening import open_checkpoint, told


@dataclass(frozen=True)
class ModelRunner:
    """A model. The cases of a picture go through it together: one vision pass, and what they share is read once."""

    generator: StampGenerator
    options: GenerationOptions

    @classmethod
    def open(cls, checkpoint: Path, device: str, asked: Choices, base: str) -> ModelRunner:
        """That of a checkpoint. StampError if it is at fault, UsageFault if the bounds of merged patches leave nothing."""
        model, processor = open_checkpoint(checkpoint, device, asked.dtype, base)
        processor.bound(asked.min_tokens, asked.max_tokens)
        _check_bounds(*processor.bounds)
        with told(str(checkpoint)):
            generator = StampGenerator(model, processor)
            options = GenerationOptions(asked.max_new_tokens, batch_size=asked.batch_size)
            return cls(generator, generator.complete(options))

    def answer(self, images: Sequence[ImageCases], mode: str) -> list[list[Answer]]:
        """For each picture an answer to each of its cases; StampModelError for a case that cannot be answered."""
        forced = mode == FORCED
        options = replace(self.options, max_new_tokens=0) if forced else self.options
        prompts = [[_prompt(case, forced) for case in one.cases] for one in images]
        return self.generator.generate([one.image for one in images], prompts, options)

    def facts(self, refiner: str) -> Opened:
        """What the card says of it and of the refiner of that name."""
        model, processor = self.generator.model, self.generator.processor
        return Opened(
            family=model.config.model_type,
            method=msgspec.to_builtins(model.method.settings),
            remarks=list(model.method.settings.remarks),
            dtype=str(model.dtype).removeprefix("torch."),
            attention=resolve(self.options.attention, model.device, model.dtype),
            min_tokens=processor.bounds[0],
            max_tokens=processor.bounds[1],
            images=processor.backend,
            repetition_penalty=self.options.repetition_penalty or 1.0,
            refiner=refiner,
        )


class LabelRunner:
    """Answers with the labels of the true masks: the ceiling of any model that is trained on them.

    least, most: bounds of merged patches per picture; UsageFault if they leave nothing. factor: side of a patch in pixels, as
    each set was built if None.
    """

    def __init__(self, least: int, most: int, factor: int | None = None) -> None:
        _check_bounds(least, most)
        self.bounds, self.factor = (least, most), factor

    def answer(self, images: Sequence[ImageCases], mode: str) -> list[list[Answer]]:
        """As a model does. mode: name of a representation."""
        labels = named(mode)
        return [[self._answer(case, labels, self.factor or one.factor) for case in one.cases] for one in images]

    def facts(self, refiner: str) -> Opened:
        """As of a model."""
        return Opened(refiner=refiner)

    def _answer(self, case: Case, kind: Representation, factor: int) -> Answer:
        height, width = case.truths[0].mask.shape
        patches = patch_grid(height, width, *self.bounds, factor)
        labels = [kind.labels(truth.mask, patches, truth.ignore) for truth in case.truths]
        return Answer(case.begin, case.begin, (), tuple(map(coverage_logits, labels)), "stop")


Runner = ModelRunner | LabelRunner
"""Whoever answers."""


def _check_bounds(least: int, most: int) -> None:
    if least > most:
        what = f"at least {least} and at most {most} patches of a picture"
        raise UsageFault(what, "give --min-tokens and --max-tokens")


def _prompt(case: Case, forced: bool) -> list[dict[str, Any]]:
    return [*case.messages, {"role": "assistant", "content": case.begin}] if forced else case.messages
