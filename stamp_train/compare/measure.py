"""What a trained model costs to ask, and what its labels could score; run as a process of its own.

    python -m stamp_train.compare.measure PLACE ASKING

PLACE: folder of one run of a comparison (`compare.folder`), which gets `measured.json`. ASKING: JSON of `folder.Asking`.

Answers are timed one at a time. Three of each case: free, as `eval` has them; with the true words given up to the last
`<|seg|>`; and with the same words without any `<|seg|>`. The difference of the last two is what masks take, however a method
makes them: a pass over mask tokens, several passes, text, or next to nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL.Image import Image
from torch import nn
from transformers.utils.logging import disable_progress_bar

from stamp_data.shards.members import Parsed
from stamp_data.writing import json_text, write_atomic
from stamp_schemas import StampError
from stamp_schemas.record import SEG
from stamp_train.compare import folder as files
from stamp_train.estimate.architecture import architecture
from stamp_train.estimate.cost import operations
from stamp_train.estimate.workload import Work, stage_work
from stamp_train.eval.cases import Case, CaseSet
from stamp_train.eval.metrics import Summary
from stamp_train.eval.scoring import Scorer, true_answers
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.contract import Method
from stamp_train.predict.opening import open_checkpoint
from stamp_train.recipes import resolve
from stamp_train.stream.examples import ExampleMaker, Prepare, prepare_with

WARM_UP = 1  # cases that are answered before any is timed


class Effort(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes.

    parameters: of the whole model; added: of those, what the method adds to its base. training_operations: in floating point,
    of the whole training, from the sets' indexes (an estimate, as that of a dry run). answer_seconds, mask_seconds: median time
    of an answer from the picture on, and of its masks alone. tokens_per_mask, passes_per_mask: that go through the language
    model for a mask, its `<|seg|>` included, as means. vision_passes: for an answer with its masks.
    """

    parameters: float
    added: float
    training_operations: float
    answer_seconds: float
    mask_seconds: float
    tokens_per_mask: float
    passes_per_mask: float
    vision_passes: float


class Measured(Effort, frozen=True, kw_only=True):
    """Of one trained model. timed: cases that were timed. ceiling: set -> metric of the labels themselves."""

    timed: int
    ceiling: dict[str, dict[str, float]]
    device: str


@dataclass(frozen=True)
class _Spent:
    """What an answer took: seconds; tokens and passes of the language model, passes of the vision tower."""

    seconds: float
    tokens: int
    passes: int
    vision: int


@dataclass(frozen=True)
class _Timed:
    """A case answered freely, with its true words and masks, and with its true words alone. masks: that the true answer has."""

    free: _Spent
    forced: _Spent
    words: _Spent
    masks: int


def measure(place: Path, asking: files.Asking) -> Measured:
    """Open the finished model of a run and ask it. StampError: the model or a set is at fault."""
    recipe = resolve(str(place / files.RECIPE)).recipe
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    model, processor = open_checkpoint(place / files.RUN)
    sizes = architecture(recipe, model.config)
    work = sum((stage_work(recipe, stage).work for stage in recipe.stages), Work())
    sets = asking.sets(recipe)
    prepare, upsampling = prepare_with(processor), recipe.evaluation.upsampling
    ceilings = {one.name: ceiling(one, prepare, model.method, upsampling) for one in sets}
    watch = Watch(StampGenerator(model, processor), asking.max_new_tokens)
    timed = [watch.timed(picture, case) for picture, case in _some(sets, asking.timed + WARM_UP)][WARM_UP:]
    return Measured(
        parameters=sizes.parameters,
        added=sizes.head,
        training_operations=operations(recipe, sizes, work),
        timed=len(timed),
        answer_seconds=_median([one.free.seconds for one in timed]),
        mask_seconds=_median([max(one.forced.seconds - one.words.seconds, 0.0) for one in timed]),
        tokens_per_mask=_mean([(one.forced.tokens - one.words.tokens) / one.masks for one in timed]),
        passes_per_mask=_mean([(one.forced.passes - one.words.passes) / one.masks for one in timed]),
        vision_passes=_mean([one.free.vision for one in timed]),
        ceiling=ceilings,
        device=str(model.device),
    )


def ceiling(source: CaseSet, prepare: Prepare, method: Method, upsampling: str) -> dict[str, float]:
    """Metrics of a set's cases, by our own convention, if each mask is what the method makes of its true label, whatever that
    is (`Method.label`, `Method.ideal`). Records that cannot be read are left out."""
    make, scorer, summary = ExampleMaker(prepare, method), Scorer(upsampling), Summary()
    for row in source.rows:
        asked = source.load(row)
        if asked.damaged or not asked.cases:
            continue
        loaded = source.shards.load(row)
        example = make(Parsed(loaded.record, memoryview(loaded.image or b""), loaded.labels), source.asking(row))
        masks = (method.ideal(label) for one in example.dialogues for label in one.labels)
        for line in scorer.lines(source.name, asked, "labels", true_answers(asked.cases, masks)):
            assert line.score is not None  # what is damaged was left out
            summary.add(line.score)
    return summary.metrics()


class Watch:
    """Asks a model, and counts what goes through it, whatever its method does."""

    def __init__(self, generator: StampGenerator, max_new_tokens: int) -> None:
        self.generator = generator
        self.free = generator.complete(GenerationOptions(max_new_tokens=max_new_tokens, batch_size=1))
        # One token is decoded after words alone, so that they are read; a `<|seg|>` there must not have its mask drawn.
        ends = (*(self.free.stop_ids or ()), generator.chat.seg_id)
        self.words = replace(self.free, max_new_tokens=1, stop_ids=ends)
        self.tokens = self.passes = self.vision = 0
        inner = generator.model.model
        inner.language_model.register_forward_pre_hook(self._language, with_kwargs=True)
        inner.visual.register_forward_pre_hook(self._look)

    def timed(self, picture: Image, case: Case) -> _Timed:
        """What three answers to a case take, see the module's text."""
        words = case.begin.replace(SEG, "")
        return _Timed(
            free=self._spent(picture, case.messages, self.free),
            forced=self._spent(picture, _begun(case, case.begin), replace(self.free, max_new_tokens=0)),
            words=self._spent(picture, _begun(case, words), self.words),
            masks=len(case.truths),
        )

    def _spent(self, picture: Image, messages: list[dict[str, Any]], options: GenerationOptions) -> _Spent:
        self.tokens = self.passes = self.vision = 0
        began = time.perf_counter()
        self.generator.generate([picture], [[messages]], options)
        # Masks come back on the CPU, so the clock has waited for them.
        return _Spent(time.perf_counter() - began, self.tokens, self.passes, self.vision)

    def _language(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:  # noqa: ARG002 - of a hook
        self.tokens += kwargs["inputs_embeds"].shape[1]
        self.passes += 1

    def _look(self, module: nn.Module, args: Any) -> None:  # noqa: ARG002 - of a hook
        self.vision += 1


def _begun(case: Case, begin: str) -> list[dict[str, Any]]:
    return [*case.messages, {"role": "assistant", "content": begin}]


def _some(sets: Sequence[CaseSet], count: int) -> Iterator[tuple[Image, Case]]:
    """So many cases, each of another picture, from all sets by turns."""
    taken = [_first_cases(one) for one in sets]
    by_turns = chain.from_iterable(zip_longest(*taken))
    yield from islice((pair for pair in by_turns if pair), count)


def _first_cases(source: CaseSet) -> Iterator[tuple[Image, Case]]:
    for row in source.rows:
        found = source.load(row)
        if found.image is not None and found.cases:
            yield found.image, found.cases[0]


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def main(place: str, asking: str) -> int:
    """Measure, and write down what was found; the exit code."""
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        found = measure(Path(place), msgspec.json.decode(asking, type=files.Asking))
        write_atomic(Path(place, files.MEASURED), json_text(found))
    except StampError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
