"""Conversations about a picture over several rounds, with masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from stamp_schemas import UsageFault
from stamp_train.generation.generate import Conversation
from stamp_train.generation.prompts import Prompt
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.predict.segmentation import Segmentation

if TYPE_CHECKING:
    from stamp_train.predict.segmenter import Segmenter

STOPPED = "stopped"


@dataclass(frozen=True, eq=False)
class Turn:
    """One round. An answer that was stopped half-way has finish `stopped` and no masks."""

    question: str
    answer: Segmentation


@dataclass(frozen=True, eq=False)
class ChatEvent:
    """Something that happened in a round.

    Attributes:
        kind: `text` (whole characters), `control` (`<|seg|>`, `<|yes|>` or `<|no|>` was said), or `answer`, the last one.
        text: the text, or the name of the control token.
        answer: the finished answer, with its masks.
    """

    kind: Literal["text", "control", "answer"]
    text: str = ""
    answer: Segmentation | None = None


class Chat:
    """A conversation about one picture; made by `Segmenter.chat`.

    Each round reads only what is new, except after an `undo`, a stop or a fault: then what was said is read again.

    Attributes:
        picture: RGB, None for text alone.
        history: the rounds so far.

    Raises:
        StampError: a picture that the model cannot take.
    """

    def __init__(self, segmenter: Segmenter, picture: Image.Image | None, options: GenerationOptions) -> None:
        self.picture = picture
        self.history: list[Turn] = []
        self._segmenter, self._options = segmenter, options
        self._conversation: Conversation | None = self._open()

    def say(self, text: str, begin: str | None = None) -> Segmentation:
        """The answer to the next question; arguments and errors as those of `stream`."""
        *_, last = self.stream(text, begin)
        assert last.answer is not None  # a stream ends with its answer
        return last.answer

    def stream(self, text: str, begin: str | None = None) -> Iterator[ChatEvent]:
        """The next round as it happens. If the events are not read to their end, the answer stays as far as it came.

        Args:
            text: the question, word for word.
            begin: how the answer begins, such as `It is <|seg|>`, instead of what the options say.

        Raises:
            StampError: the conversation has become too long, or memory does not suffice; it stays as it was.
        """
        prompt: Prompt = text
        if self._conversation is None:
            self._conversation = self._open()
            prompt = [*self.messages, self._asked(text, first=not self.history)]
        conversation, self._conversation = self._conversation, None  # until the round has come to its end
        pieces: list[tuple[str, str]] = []
        answer: Segmentation | None = None
        try:
            for event in conversation.stream(prompt, begin):
                if event.answer is None:
                    pieces.append((event.kind, event.text))
                    yield ChatEvent("control" if event.kind == "control" else "text", event.text)
                else:
                    answer = self._segmenter.finished(event.answer, self.picture)
                    self._conversation = conversation
        except (GeneratorExit, KeyboardInterrupt):
            if pieces:
                self.history.append(Turn(text, self._stopped(pieces)))
            raise
        assert answer is not None  # the model's stream ends with its answer
        self.history.append(Turn(text, answer))
        yield ChatEvent("answer", answer=answer)

    def undo(self) -> Turn | None:
        """Take the last round back; it, or None if there is none."""
        if not self.history:
            return None
        self._conversation = None
        return self.history.pop()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The rounds so far as chat messages, see `stamp_train.sequence.chat.ChatEncoder.encode`."""
        found: list[dict[str, Any]] = []
        for turn in self.history:
            found += [
                self._asked(turn.question, first=not found),
                {"role": "assistant", "content": [{"type": "text", "text": turn.answer.content}]},
            ]
        return found

    def save(self, folder: str | Path) -> Path:
        """Write the conversation into a folder: `predictions.jsonl` with a row per round, masks and overlays.

        Args:
            folder: a new one, or one of earlier predictions, which give way.

        Returns:
            The path of `predictions.jsonl`.

        Raises:
            UsageFault: the folder holds something else, or nothing has been said.
        """
        from stamp_train.predict.writing import PredictionFolder

        if not self.history:
            raise UsageFault("nothing has been said yet")

        written = PredictionFolder(Path(folder), {"kind": "conversation"}, overwrite=True)
        for number, turn in enumerate(self.history, start=1):
            written.add(f"round-{number:03d}", "", turn.question, turn.answer)
        return written.rows

    def _open(self) -> Conversation:
        return self._segmenter.generator.conversation(self.picture, self._options)

    def _asked(self, text: str, first: bool) -> dict[str, Any]:
        image = [{"type": "image"}] if first and self.picture is not None else []
        return {"role": "user", "content": [*image, {"type": "text", "text": text}]}

    def _stopped(self, pieces: list[tuple[str, str]]) -> Segmentation:
        return Segmentation(
            text="".join(text for kind, text in pieces if kind == "text"),
            content="".join(text for _, text in pieces),
            masks=(),
            probabilities=(),
            logits=(),
            picture=self.picture,
            finish=STOPPED,
        )
