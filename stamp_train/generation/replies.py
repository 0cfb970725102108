"""Answers: what comes out, and what is kept while they are in the making."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from stamp_train.generation.sampling import TextStream
from stamp_train.methods import upsample
from stamp_train.methods.stamp.heads import Grid
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures


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
            raise StampModelError("the image's size is not known", fix="pass size=(height, width)")
        return [upsample.probabilities(mask, *found) for mask in self.masks]


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


@dataclass(eq=False)
class SourceImage:
    """An image of the call: pixels on their way in, features once the vision tower has run.

    Attributes:
        name: for messages.
        pixel_values: float32 [patches, 1176].
        grid_thw: patches in (time, height, width) before the 2x2 merge.
        size: height and width in pixels, None if only patches were given.
        features: of this image alone.
    """

    name: str
    pixel_values: Tensor
    grid_thw: tuple[int, int, int]
    size: tuple[int, int] | None = None
    features: ImageFeatures | None = None

    @property
    def grid(self) -> Grid:
        """Merged patches (height, width)."""
        return self.grid_thw[1] // 2, self.grid_thw[2] // 2

    @property
    def patches(self) -> int:
        """Number of merged patches."""
        return self.grid[0] * self.grid[1]


@dataclass(eq=False)
class Reply:
    """An answer in the making. It holds all that is needed to go on, so a batch can be given up and begun again.

    Attributes:
        image: index of the image in the call.
        prompt: index of the prompt among the image's; of the turn in a conversation.
        name: for messages.
        source: the image, None for text alone.
        opening: ids up to the end of the image, its placeholder not repeated; what dialogues of an image share.
        stop_ids: tokens that end the answer.
        stream: turns the answer's tokens into text.
        random: what sampling draws from.
        ids: ids after the opening: what was asked and what is answered, without the stop token.
        start: index in `ids` where the answer begins.
        room: most tokens that may still be decoded.
        stopped_by: the stop token that was said.
        finish: why the answer ended, `stop` or `length`; None while it goes on.
        pieces: its text so far, as `TextStream` gives it.
        masks: logit picture for the `<|seg|>` at each index of `ids`.
    """

    image: int
    prompt: int
    name: str
    source: SourceImage | None
    opening: tuple[int, ...]
    stop_ids: frozenset[int]
    stream: TextStream
    random: random.Random
    ids: list[int] = field(default_factory=list)
    start: int = 0
    room: int = 0
    stopped_by: int | None = None
    finish: str | None = None
    pieces: list[tuple[str, str]] = field(default_factory=list)
    masks: dict[int, Tensor] = field(default_factory=dict)

    def begin(self, asked: Sequence[int], said: Sequence[int], room: int) -> None:
        """Begin an answer to what was asked, with what is said already and room for that many tokens."""
        self.ids += asked
        self.start = len(self.ids)
        self.ids += said
        self.room, self.stopped_by, self.finish = room, None, None if room else "length"
        self.pieces = [piece for token in said for piece in self.stream.push(token)]
        if self.finish:
            self.pieces += self.stream.flush()

    def take(self, token: int) -> list[tuple[str, str]]:
        """Append a decoded token; the pieces of text that it completes."""
        self.room -= 1
        if token in self.stop_ids:
            self.finish, self.stopped_by, pieces = "stop", token, []
        else:
            self.ids.append(token)
            self.finish, pieces = "length" if self.room == 0 else None, self.stream.push(token)
        if self.finish:
            pieces += self.stream.flush()
        self.pieces += pieces
        return pieces

    def segs(self, seg_id: int) -> list[int]:
        """Indices of the answer's `<|seg|>`; what was said before has no masks, nor has a dialogue without an image."""
        answer = range(self.start, len(self.ids)) if self.source else ()
        return [at for at in answer if self.ids[at] == seg_id]

    def events(self, pieces: Sequence[tuple[str, str]]) -> Iterator[Event]:
        """Pieces as events."""
        for kind, text in pieces:
            yield Event(self.image, self.prompt, kind, text)

    def answer(self, seg_id: int) -> Event:
        """The event of the finished answer."""
        stop = () if self.stopped_by is None else (self.stopped_by,)
        answer = Answer(
            text="".join(text for kind, text in self.pieces if kind == "text"),
            content="".join(text for _, text in self.pieces),
            ids=(*self.ids[self.start :], *stop),
            masks=tuple(self.masks[at] for at in self.segs(seg_id)),
            finish=self.finish or "length",
            image_size=self.source.size if self.source else None,
        )
        return Event(self.image, self.prompt, "answer", answer=answer)
