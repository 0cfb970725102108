"""Requests in batches: grouped by picture, and no fault of one keeps another from its answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from stamp_schemas import StampError
from stamp_schemas.record import SEG
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.prompts import Prompt
from stamp_train.generation.replies import Answer
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.predict.image import Source, open_image
from stamp_train.predict.requests import Request
from stamp_train.sequence.errors import StampModelError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False)
class Job:
    """One request on its way.

    number: from 0. key: equal for requests about the same image. image: RGB, None for text alone. answer, or why there is
    none: fault. forced: its mask was asked for all the same, and `<|seg|>` put behind its content.
    """

    number: int
    prompt: Prompt
    name: str
    key: Hashable
    image: Image.Image | None = None
    answer: Answer | None = None
    forced: bool = False
    fault: StampError | None = None


@dataclass(frozen=True)
class _Numbered(GenerationOptions):
    """Options under which each request draws from its own random stream, whatever batch it falls into."""

    numbers: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)

    def random(self, image: int, prompt: int) -> random.Random:
        return super().random(self.numbers[image][prompt], 0)


def answered(
    asked: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
) -> Iterator[tuple[Item, Result | StampModelError]]:
    """Each item with what comes of work on all; where the model refuses one, it works on halves, so that only that is lost."""
    if not asked:
        return
    try:
        found = work(asked)
    except StampModelError as error:
        # Made anew: the error holds the frames of the failed pass, and they its tensors.
        fault = StampModelError(error.message, fix=error.hint)
    else:
        yield from zip(asked, found, strict=True)
        return
    if len(asked) == 1:
        yield asked[0], fault
        return
    middle = (len(asked) + 1) // 2
    for half in (asked[:middle], asked[middle:]):
        yield from answered(half, work)


@dataclass(frozen=True)
class Batcher:
    """Runs requests through a generator. force_mask: answers without `<|seg|>` get one."""

    generator: StampGenerator
    options: GenerationOptions
    force_mask: bool

    def jobs(self, asked: Iterable[Request]) -> Iterator[Job]:
        """All requests as jobs with an answer or a fault, in their order."""
        for jobs, sources in self._windows(asked):
            opened = {key: _opened(source) for key, source in sources.items()}
            for job in jobs:
                found = opened[job.key]
                job.image, job.fault = (None, found) if isinstance(found, StampError) else (found, None)
            for job, result in answered([job for job in jobs if job.fault is None], self._run):
                if isinstance(result, StampModelError):
                    told = str(result).removeprefix("image 0, prompt 0: ").removeprefix("image 0: ")
                    job.fault = StampError(f"{job.name}: {told}")
                else:
                    job.answer, job.forced = result
            yield from jobs

    def _windows(self, asked: Iterable[Request]) -> Iterator[tuple[list[Job], dict[Hashable, Source | None]]]:
        """As many requests as a batch takes, and those that follow about the last one's picture; and their pictures."""
        jobs: list[Job] = []
        sources: dict[Hashable, Source | None] = {}
        for number, one in enumerate(asked):
            key = _key(one.image, number)
            if len(jobs) >= self.options.batch_size and key != jobs[-1].key:
                yield jobs, sources
                jobs, sources = [], {}
            name = str(one.image) if isinstance(one.image, str | Path) else f"request {number}"
            jobs.append(Job(number, one.text, one.name or name, key))
            sources[key] = one.image  # also keeps it from being freed, so that no other gets its id
        if jobs:
            yield jobs, sources

    def _run(self, jobs: Sequence[Job]) -> list[tuple[Answer, bool]]:
        """The answers of jobs whose pictures are open, and whether their masks were forced."""
        answers = self._generate(jobs, self.options)
        without = [job for job in jobs if self.force_mask and job.image and not answers[job.number].masks]
        begun = replace(self.options, begin=SEG, max_new_tokens=0)
        forced = self._generate(without, begun, from_the_start=True) if without else {}
        for number, drawn in forced.items():
            said = answers[number]
            answers[number] = replace(drawn, text=said.text, content=said.content + SEG, finish=said.finish)
        return [(answers[job.number], job.number in forced) for job in jobs]

    def _generate(
        self, jobs: Sequence[Job], options: GenerationOptions, from_the_start: bool = False
    ) -> dict[int, Answer]:
        """Answers by the number of their job. from_the_start: without what messages say the answer begins with."""
        groups: dict[Hashable, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.key, []).append(job)
        members = list(groups.values())
        prompts = [[_unbegun(job.prompt) if from_the_start else job.prompt for job in group] for group in members]
        numbers = tuple(tuple(job.number for job in group) for group in members)
        numbered = _Numbered(**{f.name: getattr(options, f.name) for f in fields(options)}, numbers=numbers)
        answers = self.generator.generate([group[0].image for group in members], prompts, numbered)
        pairs = zip(
            (job for group in members for job in group), (one for found in answers for one in found), strict=True
        )
        return {job.number: one for job, one in pairs}


def _unbegun(prompt: Prompt) -> Prompt:
    begun = not isinstance(prompt, str) and prompt and prompt[-1].get("role") == "assistant"
    return prompt[:-1] if begun else prompt


def _key(source: Source | None, number: int) -> Hashable:
    if source is None:
        return number  # texts alone share nothing
    return str(source) if isinstance(source, str | Path) else ("pixels", id(source))


def _opened(source: Source | None) -> Image.Image | StampError | None:
    try:
        return None if source is None else open_image(source)
    except StampError as fault:
        return fault
