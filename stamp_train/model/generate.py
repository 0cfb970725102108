"""Answers in text and masks: images and prompts in, text and one mask-logit picture per `<|seg|>` out.

    generator = StampGenerator(model, processor)
    answer = generator.ask(picture, "Please segment the left dog.")
    answer.text, answer.probabilities()

The vision tower runs once per image. What dialogues of an image share is read once, their texts are decoded together, and
then all mask tokens of all their `<|seg|>` go through the language model at once, over the same cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stamp_train.model.cache import in_halves
from stamp_train.model.chat import Message
from stamp_train.model.decoding import Batch
from stamp_train.model.dialogues import Branch, Reply, SourceImage
from stamp_train.model.errors import StampModelError
from stamp_train.model.heads import upsample
from stamp_train.model.modeling import ImageFeatures
from stamp_train.model.processor import PixelBatch, StampProcessor
from stamp_train.model.sampling import GenerationOptions, TextStream, choose, penalise

Prompt = str | Sequence[Message]


@dataclass(frozen=True)
class Answer:
    """What the model says to one prompt.

    Attributes:
        text: what is meant to be read, without control tokens.
        content: the same with `<|seg|>`, `<|yes|>` and `<|no|>` in their places: what an assistant message holds when
            the dialogue goes on.
        ids: token ids, the stop token included.
        masks: for each `<|seg|>` in order, logits float32 [h * side, w * side] on the CPU, foreground above 0.
        finish: `stop`, or `length` when a limit ended it.
        image_size: height and width of the image in pixels, None if it was given as patches or not at all.
    """

    text: str
    content: str
    ids: tuple[int, ...]
    masks: tuple[Tensor, ...]
    finish: str
    image_size: tuple[int, int] | None = None

    def probabilities(self, size: tuple[int, int] | None = None) -> list[Tensor]:
        """Masks as float32 [height, width], foreground above 0.5; by default at the image's size.

        Raises:
            StampModelError: the image's size is not known and none is given.
        """
        found = size or self.image_size
        if found is None:
            raise StampModelError("the image's size is not known", fix="Pass size=(height, width)")
        return [upsample(mask, *found) for mask in self.masks]


@dataclass(frozen=True)
class Event:
    """Something that happened to one answer.

    Attributes:
        image: index of the image in the call.
        prompt: index of the prompt among the image's.
        kind: `text` (whole characters), `control` (`<|seg|>`, `<|yes|>` or `<|no|>` was said), or `answer`, the last one.
        text: the text, or the name of the control token.
        answer: the finished answer.
    """

    image: int
    prompt: int
    kind: str
    text: str = ""
    answer: Answer | None = None


class StampGenerator:
    """Generates with one model.

    Args:
        model: in evaluation mode.
        processor: of the same checkpoint.

    Raises:
        StampModelError: the model has no rows for the tokenizer's control tokens.
    """

    def __init__(self, model: Any, processor: StampProcessor) -> None:
        self.model, self.processor, self.chat = model, processor, processor.chat
        rows = model.get_input_embeddings().weight.shape[0]
        lacking = [token for token, i in self.chat.control.items() if i >= rows]
        if lacking:
            raise StampModelError(
                f"the model has {rows} embedding rows, none for {', '.join(lacking)}",
                fix="Load the tokenizer of the same checkpoint, or see stamp_train.model.tokens.prepare_rows",
            )

    def ask(self, image: Any, prompt: Prompt, options: GenerationOptions | None = None) -> Answer:
        """The answer to one prompt about one image (None for text alone), see `generate`."""
        return self.generate([image], [[prompt]], options)[0][0]

    def segment(self, images: Sequence[Any], prompts: Sequence[Sequence[Prompt]], begin: str = "<|seg|>") -> list[list[Answer]]:
        """Masks without decoding any text: every answer is `begin`, with the masks of its `<|seg|>`; see `generate`."""
        return self.generate(images, prompts, GenerationOptions(begin=begin, max_new_tokens=0))

    def generate(
        self,
        images: Sequence[Any],
        prompts: Sequence[Sequence[Prompt]],
        options: GenerationOptions | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> list[list[Answer]]:
        """Answer several prompts about each of several images.

        Args:
            images: PIL images, `PixelBatch` as `StampProcessor.images` gives them, or None for text alone.
            prompts: for each image its prompts: a question, or messages (see `ChatEncoder.encode`; one image item in
                them). Messages that end with the assistant's say how its answer begins. `<|seg|>` in a question is text.
            options: how.
            on_event: called with every `Event` as it happens.

        Returns:
            For each image its answers, in the order of the prompts.

        Raises:
            StampModelError: names the dialogue: pixel values that are not finite or disagree with their grid, messages
                at fault, a dialogue past the model's range of positions, logits that are not numbers, or a single
                dialogue or image that memory does not suffice for. Batches that are too large are halved.
        """
        answers: dict[tuple[int, int], Answer] = {}
        for event in self.stream(images, prompts, options):
            if on_event is not None:
                on_event(event)
            if event.answer is not None:
                answers[event.image, event.prompt] = event.answer
        return [[answers[i, j] for j in range(len(asked))] for i, asked in enumerate(prompts)]

    def stream(
        self, images: Sequence[Any], prompts: Sequence[Sequence[Prompt]], options: GenerationOptions | None = None
    ) -> Iterator[Event]:
        """As `generate`, but the events themselves as they happen; answers of a batch take turns."""
        chosen = self._resolve(options)
        if len(images) != len(prompts):
            raise StampModelError(f"{len(images)} images but {len(prompts)} lists of prompts")
        sources = [self._source(image, f"image {i}") for i, image in enumerate(images)]
        replies = [
            [self._reply(source, i, j, prompt, chosen) for j, prompt in enumerate(asked)]
            for i, (source, asked) in enumerate(zip(sources, prompts, strict=True))
        ]
        return self._stream(replies, chosen)

    def conversation(self, image: Any, options: GenerationOptions | None = None, system: str | None = None) -> Conversation:
        """A dialogue about an image (None for text alone) that goes on from turn to turn over one cache."""
        return Conversation(self, self._source(image, "conversation"), self._resolve(options), system)
