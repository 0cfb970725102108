"""Conversations about a picture over several rounds, with masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from PIL import Image

from stamp_train.generation.generate import Conversation, StampGenerator
from stamp_train.generation.prompts import Prompt
from stamp_train.generation.replies import Answer, Event
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.predict.segmentation import Segmentation

STOPPED = "stopped"


class Chat:
    """A conversation about one picture (RGB, None for text alone), made by `Segmenter.chat`; `history` holds its answers.

    Each round reads only what is new, except after an `undo`, a stop or a fault: then what was said is read again. StampError
    for a picture that the model cannot take.
    """

    def __init__(
        self,
        generator: StampGenerator,
        finish: Callable[[Answer, Image.Image | None], Segmentation],
        image: Image.Image | None,
        options: GenerationOptions,
    ) -> None:
        self.image = image
        self.history: list[Segmentation] = []
        self._generator, self._finish, self._options = generator, finish, options
        self._conversation: Conversation | None = self._open()

    def say(self, text: str, begin: str | None = None) -> Segmentation:
        """The answer to the next question; arguments and errors as those of `stream`."""
        for _ in self.stream(text, begin):
            pass
        return self.history[-1]

    def stream(self, text: str, begin: str | None = None) -> Iterator[Event]:
        """The next round as it is said: `text`, `control` and `mask` events; at their end the answer is the last of `history`.

        text: the question, word for word. begin: how the answer begins, such as `It is <|seg|>`, instead of what the options
        say. If the events are not read to their end the answer stays as far as it came, with finish `stopped` and no masks.
        StampError if the conversation has become too long, or memory does not suffice; it stays as it was.
        """
        prompt: Prompt = text
        if self._conversation is None:
            self._conversation = self._open()
            prompt = [*self.messages, self._asked(text, first=not self.history)]
        conversation, self._conversation = self._conversation, None  # until the round has come to its end
        said: list[Event] = []
        try:
            for event in conversation.stream(prompt, begin):
                if event.answer is None:
                    said.append(event)
                    yield event
                else:
                    self.history.append(
                        replace(self._finish(event.answer, self.image), question=text, said=event.answer.said)
                    )
                    self._conversation = conversation
        except (GeneratorExit, KeyboardInterrupt):
            if said:
                self.history.append(self._stopped(text, said))
            raise

    def configure(self, **options: Any) -> None:
        """Answer from now on with these fields of `GenerationOptions` changed. ValueError for what they cannot be."""
        changed = replace(self._options, **options)
        if changed != self._options:
            self._options, self._conversation = changed, None

    @property
    def temperature(self) -> float:
        """At which answers are sampled."""
        return self._options.temperature

    def undo(self) -> Segmentation | None:
        """Take the last round back; its answer, or None if there is none."""
        if not self.history:
            return None
        self._conversation = None
        return self.history.pop()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The rounds so far as chat messages, see `stamp_train.sequence.chat.ChatEncoder.encode`."""
        found: list[dict[str, Any]] = []
        for answer in self.history:
            found += [
                self._asked(answer.question, first=not found),
                {"role": "assistant", "content": [{"type": "text", "text": answer.said or answer.content}]},
            ]
        return found

    def _open(self) -> Conversation:
        return self._generator.conversation(self.image, self._options)

    def _asked(self, text: str, first: bool) -> dict[str, Any]:
        image = [{"type": "image"}] if first and self.image is not None else []
        return {"role": "user", "content": [*image, {"type": "text", "text": text}]}

    def _stopped(self, question: str, said: list[Event]) -> Segmentation:
        words = "".join(event.text for event in said if event.kind == "text")
        content = "".join(event.text for event in said)
        return Segmentation(words, content, (), (), (), self.image, STOPPED, question=question)
