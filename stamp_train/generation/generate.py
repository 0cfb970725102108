"""Answers in text and masks: images and prompts in, text and one mask-logit picture per `<|seg|>` out.

    generator = StampGenerator(model, processor)
    answer = generator.ask(picture, "Please segment the left dog.")
    answer.text, answer.masks

The vision tower runs once per image. What dialogues of an image share is read once, their texts are decoded together, and
then all mask tokens of all their `<|seg|>` go through the language model at once, over the same cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stamp_train.backbones.processor import StampProcessor
from stamp_train.generation.cache import in_halves, portions
from stamp_train.generation.decoding import Batch, encode
from stamp_train.generation.prompts import Prompt, check_rows, go_on, open_image, open_reply
from stamp_train.generation.replies import Answer, Event, Reply, SourceImage
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.sequence.errors import StampModelError


class StampGenerator:
    """Generates with one model in evaluation mode and the processor of the same checkpoint.

    StampModelError if the model has no rows for the tokenizer's control tokens, or the tokenizer lacks one.
    """

    def __init__(self, model: Any, processor: StampProcessor) -> None:
        check_rows(model, processor.chat)
        self.model, self.processor, self.chat = model, processor, processor.chat

    def complete(self, options: GenerationOptions | None) -> GenerationOptions:
        """Options with what the checkpoint says about those left open; StampModelError if the model is in training mode."""
        if self.model.training:
            raise StampModelError(
                "the model is in training mode, where checkpointing drops the cache", fix="call model.eval()"
            )
        chosen, config = options or GenerationOptions(), self.model.generation_config
        stop = config.eos_token_id if chosen.stop_ids is None else list(chosen.stop_ids)
        if stop is None:
            stop = self.chat.control["<|im_end|>"]
        penalty = config.repetition_penalty if chosen.repetition_penalty is None else chosen.repetition_penalty
        return replace(
            chosen,
            stop_ids=tuple(stop) if isinstance(stop, list) else (int(stop),),
            repetition_penalty=1.0 if penalty is None else penalty,
        )

    def ask(self, image: Any, prompt: Prompt, options: GenerationOptions | None = None) -> Answer:
        """The answer to one prompt about one image (None for text alone), see `generate`."""
        return self.generate([image], [[prompt]], options)[0][0]

    def generate(
        self, images: Sequence[Any], prompts: Sequence[Sequence[Prompt]], options: GenerationOptions | None = None
    ) -> list[list[Answer]]:
        """Answer several prompts about each of several images: for each image its answers, in the order of the prompts.

        images: PIL images, `PixelBatch` as `StampProcessor.images` gives them, or None for text alone. prompts: for each image
        its prompts: a question, or messages (see `ChatEncoder.encode`; one image item in them). Messages that end with the
        assistant's say how its answer begins. `<|seg|>` in a question is text. StampModelError names the dialogue: pixel
        values that are not finite or disagree with their grid, messages at fault, a dialogue past the model's range of
        positions, logits that are not numbers, or a single dialogue or image that memory does not suffice for. Batches that
        are too large are halved.
        """
        events = self.stream(images, prompts, options)
        answers = {(event.image, event.prompt): event.answer for event in events if event.answer is not None}
        return [[answers[i, j] for j in range(len(asked))] for i, asked in enumerate(prompts)]

    def stream(
        self, images: Sequence[Any], prompts: Sequence[Sequence[Prompt]], options: GenerationOptions | None = None
    ) -> Iterator[Event]:
        """As `generate`, but the events themselves as they happen; answers of a batch take turns."""
        if len(images) != len(prompts):
            raise StampModelError(f"{len(images)} images but {len(prompts)} lists of prompts")
        return self._stream(images, prompts, self.complete(options))

    def conversation(self, image: Any, options: GenerationOptions | None = None) -> Conversation:
        """A dialogue about an image (None for text alone) that goes on from turn to turn over one cache."""
        return Conversation(self, open_image(self.processor, image, "conversation"), options)

    def _stream(
        self, images: Sequence[Any], prompts: Sequence[Sequence[Prompt]], options: GenerationOptions
    ) -> Iterator[Event]:
        """As many images at a time as have `batch_size` prompts, so that only theirs are held."""
        for numbers in portions(range(len(prompts)), lambda i: len(prompts[i]), options.batch_size):
            yield from self._portion({i: (images[i], prompts[i]) for i in numbers}, options)

    def _portion(
        self, asked: Mapping[int, tuple[Any, Sequence[Prompt]]], options: GenerationOptions
    ) -> Iterator[Event]:
        """Some of the images, by number, and the prompts about them."""
        replies = []
        for i, (image, prompts) in asked.items():
            source = open_image(self.processor, image, f"image {i}")
            replies += [
                open_reply(self.model, self.chat, source, (i, j), prompt, options) for j, prompt in enumerate(prompts)
            ]
        for reply in replies:
            yield from reply.events(reply.pieces)
        encode(self.model, [reply.source for reply in replies if reply.source])
        for first in range(0, len(replies), options.batch_size):
            some = replies[first : first + options.batch_size]
            yield from in_halves(some, lambda half: self.batch(half, options).answers(options), lambda one: one.name)

    def batch(self, replies: Sequence[Reply], options: GenerationOptions) -> Batch:
        """Replies whose images have been encoded, over a new cache."""
        return Batch(self.model, self.chat, replies, options.attention)


class Conversation:
    """A dialogue that goes on over one cache: each turn reads only what is new. See `StampGenerator.conversation`."""

    def __init__(
        self, generator: StampGenerator, source: SourceImage | None, options: GenerationOptions | None
    ) -> None:
        self._generator, self._source = generator, source
        self._options = generator.complete(options)
        self._batch: Batch | None = None

    def ask(self, prompt: Prompt, begin: str | None = None) -> Answer:
        """The answer to the next turn; arguments and errors as those of `stream`."""
        *_, last = self.stream(prompt, begin)
        assert last.answer is not None  # a stream ends with its answer
        return last.answer

    def stream(self, prompt: Prompt, begin: str | None = None) -> Iterator[Event]:
        """The next turn as events, whose `prompt` counts the turns.

        prompt: a question; the first may also be messages, which hold what was said before. begin: how the answer begins,
        instead of what the options say. StampModelError: see `StampGenerator.generate`. The dialogue stays as it is and may go
        on; so it does, with an answer cut off, if the events are not read to their end.
        """
        generator, options = self._generator, self._options
        if begin is not None:
            options = replace(options, begin=begin)
        if self._batch is None:
            reply = open_reply(generator.model, generator.chat, self._source, (0, 0), prompt, options)
            encode(generator.model, [self._source] if self._source else [])
            self._batch = generator.batch([reply], options)
        elif isinstance(prompt, str):
            reply = self._batch.branches[0].reply
            go_on(generator.model, generator.chat, reply, prompt, options)
        else:
            raise StampModelError("messages in a dialogue that has begun", fix="pass the question as a string")
        batch = self._batch
        yield from reply.events(reply.pieces)
        yield from in_halves([reply], lambda _: batch.answers(options), lambda _: "conversation")
