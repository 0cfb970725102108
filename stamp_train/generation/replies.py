"""Answers: what comes out, and what is kept while they are in the making."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from stamp_schemas.record import SEG
from stamp_train.generation.sampling import TextStream
from stamp_train.methods.contract import Listener, Pieces
from stamp_train.sequence.document import Grid, Put, merged_grid
from stamp_train.sequence.inputs import ImageFeatures


@dataclass(frozen=True)
class Answer:
    """What the model says to one prompt.

    text: what is meant to be read, without control tokens. content: the same with `<|seg|>`, `<|yes|>` and `<|no|>` in their
    places. ids: token ids, the stop token included. masks: for each `<|seg|>` in order, a logit picture, float32 [h, w] on the
    CPU, foreground above 0. finish: `stop`, or `length` when a limit ended it. said: as the model wrote it, which is another
    only where masks are written: what an assistant message holds when the dialogue goes on.
    """

    text: str
    content: str
    ids: tuple[int, ...]
    masks: tuple[Tensor, ...]
    finish: str
    said: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to one answer: the index of its image in the call, and of its prompt among the image's.

    kind: `text` (whole characters), `control` (`<|seg|>`, `<|yes|>` or `<|no|>` was said), `mask` (drawn before the answer has
    ended, as some methods do), or `answer`, the last one. text: the text, or the name of the control token.
    """

    image: int
    prompt: int
    kind: str
    text: str = ""
    mask: Tensor | None = None
    answer: Answer | None = None


@dataclass(eq=False)
class SourceImage:
    """An image of the call: pixels on their way in, features of this image alone once the vision tower has run.

    pixel_values: float32 [patches, numbers]. grid_thw: patches in (time, height, width) before the 2x2 merge.
    """

    name: str
    pixel_values: Tensor
    grid_thw: tuple[int, int, int]
    features: ImageFeatures | None = None

    @property
    def grid(self) -> Grid:
        """Merged patches (height, width)."""
        return merged_grid(self.grid_thw)

    @property
    def patches(self) -> int:
        """Number of merged patches."""
        return self.grid[0] * self.grid[1]


@dataclass(eq=False)
class Reply:
    """An answer in the making. It holds all that is needed to go on, so a batch can be given up and begun again.

    image: index of the image in the call. prompt: index of the prompt among the image's; of the turn in a conversation. name:
    for messages. source: the image, None for text alone. opening: ids up to the end of the image, its placeholder not repeated;
    what dialogues of an image share. stop_ids: tokens that end the answer. stream: turns the answer's tokens into text.
    random: what sampling draws from. listener: of the method. ids: after the opening: what was asked and what is answered,
    without the stop token. start: index in `ids` where the answer begins. room: most tokens that may still be decoded.
    stopped_by: the stop token that was said. finish: why the answer ended, `stop` or `length`; None while it goes on. pieces:
    its text so far. said: as the model wrote it. segs: indices in `ids` where it has said a mask; none without an
    image. masks: their logit pictures. puts: what the method has put behind each `<|seg|>` so far, of earlier turns too.
    """

    image: int
    prompt: int
    name: str
    source: SourceImage | None
    opening: tuple[int, ...]
    stop_ids: frozenset[int]
    stream: TextStream
    random: random.Random
    listener: Listener | None = None
    ids: list[int] = field(default_factory=list)
    start: int = 0
    room: int = 0
    stopped_by: int | None = None
    finish: str | None = None
    pieces: Pieces = field(default_factory=list)
    said: str = ""
    segs: list[int] = field(default_factory=list)
    masks: dict[int, Tensor] = field(default_factory=dict)
    puts: list[Put] = field(default_factory=list)

    def put(self, one: Put) -> None:
        """Put a method's tokens behind a `<|seg|>`; whatever lies behind that moves on."""
        ids = one.stretch.ids
        self.ids[one.at + 1 : one.at + 1] = ids
        self.start += len(ids) if one.at < self.start else 0
        self.segs = [at + len(ids) if at > one.at else at for at in self.segs]
        self.puts.append(one)

    def leave(self, room: int) -> None:
        """Let an answer that goes on have at most so many more tokens; it ends here if that is none."""
        self.room = min(self.room, max(room, 0))
        if self.finish is None and not self.room:
            self.finish = "length"
            self.end()

    def begin(self, asked: Sequence[int], said: Sequence[int], room: int) -> None:
        """Begin an answer to what was asked, with what is said already and room for that many tokens."""
        self.ids += asked
        self.start = len(self.ids)
        self.room, self.stopped_by, self.finish = room, None, None if room else "length"
        self.stream.flush()  # what an answer before held back, if it was cut off
        if self.listener:
            self.listener.end()
        self.pieces, self.segs, self.masks, self.said = [], [], {}, ""
        for token in said:
            self.ids.append(token)
            self.hear(self.stream.push(token))
        if self.finish:
            self.end()

    def take(self, token: int) -> Pieces:
        """Append a decoded token; the pieces of text that it completes."""
        self.room -= 1
        known = len(self.pieces)
        if token in self.stop_ids:
            self.finish, self.stopped_by = "stop", token
        else:
            self.ids.append(token)
            self.finish = "length" if self.room == 0 else None
            self.hear(self.stream.push(token))
        if self.finish:
            self.end()
        return self.pieces[known:]

    def hear(self, pieces: Pieces) -> None:
        """Take pieces of the last token, and note the masks that they say."""
        self.said += "".join(text for _, text in pieces)
        self._note(self.listener.hear(pieces) if self.listener else pieces)

    def end(self) -> None:
        """Take what was held back."""
        self.hear(self.stream.flush())
        if self.listener:
            self._note(self.listener.end())

    def _note(self, pieces: Pieces) -> None:
        self.pieces += pieces
        if self.source:
            self.segs += [len(self.ids) - 1 for piece in pieces if piece == ("control", SEG)]

    def events(self, pieces: Pieces) -> Iterator[Event]:
        """Pieces as events."""
        for kind, text in pieces:
            yield Event(self.image, self.prompt, kind, text)

    def answer(self) -> Event:
        """The event of the finished answer."""
        stop = () if self.stopped_by is None else (self.stopped_by,)
        put = {at for one in self.puts for at in range(one.at + 1, one.end)}
        answer = Answer(
            text="".join(text for kind, text in self.pieces if kind == "text"),
            content="".join(text for _, text in self.pieces),
            ids=(*(token for at, token in enumerate(self.ids) if at >= self.start and at not in put), *stop),
            masks=tuple(self.masks[at] for at in self.segs),
            said=self.said,
            finish=self.finish or "length",
        )
        return Event(self.image, self.prompt, "answer", answer=answer)
