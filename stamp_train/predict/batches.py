"""Requests in batches: grouped by picture, halved where memory ends, and no fault of one keeps another from its answer."""

from __future__ import annotations

import logging
import random
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from stamp_schemas import StampError
from stamp_schemas.record import SEG
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.prompts import Prompt
from stamp_train.generation.replies import Answer
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.predict.picture import Source, open_picture
from stamp_train.sequence.errors import StampModelError

logger = logging.getLogger(__name__)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # torch's words, on devices without an exception for it
Asked = tuple[Source | None, Prompt, str]  # picture, question, name


@dataclass(eq=False)
class Job:
    """One request on its way.

    Attributes:
        number: of the request, from 0.
        prompt: what is asked.
        name: for messages.
        key: equal for requests about the same picture.
        picture: RGB, None for text alone.
        answer: once there is one.
        forced: an answer that holds the mask which `answer` lacks.
        fault: why there is no answer.
    """

    number: int
    prompt: Prompt
    name: str
    key: Hashable
    picture: Image.Image | None = None
    answer: Answer | None = None
    forced: Answer | None = None
    fault: StampError | None = None


@dataclass(frozen=True)
class _Numbered(GenerationOptions):
    """Options under which each request draws from its own random stream, whatever batch it falls into."""

    numbers: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)

    def random(self, image: int, prompt: int) -> random.Random:
        return super().random(self.numbers[image][prompt], 0)


class Batcher:
    """Runs requests through a generator.

    Args:
        generator: model and processor.
        options: of generation.
        force_mask: answers without `<|seg|>` get one.
    """

    def __init__(self, generator: StampGenerator, options: GenerationOptions, force_mask: bool) -> None:
        self.generator, self.options, self.force_mask = generator, options, force_mask

    def jobs(self, asked: Iterable[Asked]) -> Iterator[Job]:
        """All requests as jobs with an answer or a fault, in their order."""
        for jobs, sources in self._windows(asked):
            opened: dict[Hashable, Image.Image | StampError | None] = {}
            for key, source in sources.items():
                opened[key] = _opened(source)
            for job in jobs:
                found = opened[job.key]
                job.picture, job.fault = (None, found) if isinstance(found, StampError) else (found, None)
            self._answer([job for job in jobs if job.fault is None])
            yield from jobs

    def _windows(self, asked: Iterable[Asked]) -> Iterator[tuple[list[Job], dict[Hashable, Source | None]]]:
        """As many requests as a batch takes, and those that follow about the last one's picture; and their pictures."""
        jobs: list[Job] = []
        sources: dict[Hashable, Source | None] = {}
        for number, (source, prompt, name) in enumerate(asked):
            key = _key(source, number)
            if len(jobs) >= self.options.batch_size and key != jobs[-1].key:
                yield jobs, sources
                jobs, sources = [], {}
            jobs.append(Job(number, prompt, name or _name(source, number), key))
            sources[key] = source  # also keeps it from being freed, so that no other gets its id
        if jobs:
            yield jobs, sources

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Give every job its answer or its fault."""
        if not jobs:
            return
        try:
            for job, answer in self._generate(jobs, self.options):
                job.answer = answer
            without = [job for job in jobs if job.picture and job.answer and not job.answer.masks]
            if self.force_mask and without:
                begun = replace(self.options, begin=SEG, max_new_tokens=0)
                for job, answer in self._generate(without, begun, from_the_start=True):
                    job.forced = answer
            return
        except (StampModelError, RuntimeError) as error:
            if not isinstance(error, StampModelError) and not any(word in str(error) for word in _OUT_OF_MEMORY):
                raise
            # Its text alone: the error holds the frames of the failed pass, and they its tensors.
            fault = str(error) if isinstance(error, StampModelError) else None
        if len(jobs) == 1:
            jobs[0].fault = _fault(jobs[0], fault)
            return
        middle = (len(jobs) + 1) // 2
        if fault is None:
            logger.warning("out of memory with a batch of %d; going on with %d", len(jobs), middle)
        for half in (jobs[:middle], jobs[middle:]):
            self._answer(half)

    def _generate(
        self, jobs: Sequence[Job], options: GenerationOptions, from_the_start: bool = False
    ) -> list[tuple[Job, Answer]]:
        """Jobs with their answers, one call of the generator for all.

        Args:
            jobs: whose pictures are open.
            options: of generation.
            from_the_start: leave out what messages say the answer begins with.
        """
        groups: dict[Hashable, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.key, []).append(job)
        members = list(groups.values())
        prompts = [[_unbegun(job.prompt) if from_the_start else job.prompt for job in group] for group in members]
        numbers = tuple(tuple(job.number for job in group) for group in members)
        numbered = _Numbered(**{f.name: getattr(options, f.name) for f in fields(options)}, numbers=numbers)
        answers = self.generator.generate([group[0].picture for group in members], prompts, numbered)
        return [pair for group, found in zip(members, answers, strict=True) for pair in zip(group, found, strict=True)]


def _unbegun(prompt: Prompt) -> Prompt:
    begun = not isinstance(prompt, str) and prompt and prompt[-1].get("role") == "assistant"
    return prompt[:-1] if begun else prompt


def _key(source: Source | None, number: int) -> Hashable:
    if source is None:
        return number  # texts alone share nothing
    return str(source) if isinstance(source, str | Path) else ("pixels", id(source))


def _name(source: Any, number: int) -> str:
    return str(source) if isinstance(source, str | Path) else f"request {number}"


def _opened(source: Source | None) -> Image.Image | StampError | None:
    try:
        return None if source is None else open_picture(source)
    except StampError as fault:
        return fault


def _fault(job: Job, fault: str | None) -> StampError:
    """The error of a request that failed alone, under its own name; without a text, memory did not suffice."""
    if fault is None:
        return StampError(
            f"{job.name}: out of memory with this alone", "lower the picture's size or the longest answer"
        )
    told = fault.removeprefix("image 0, prompt 0: ").removeprefix("image 0: ")
    return StampError(f"{job.name}: {told}")
