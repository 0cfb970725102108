"""A file of `stamp-data annotate`: what people said and drew of one picture (docs/annotate.md)."""

from __future__ import annotations

import re
from itertools import chain
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stamp_schemas.record import RLE

ANNOTATED_SCHEMA: Literal["stamp.annotations/1"] = "stamp.annotations/1"
MOST = 1000  # phrases, masks or dialogues of one picture
MOST_TURNS = 100
FILE_LIMIT = 1 << 30  # bytes of a file
LINK = re.compile(r"\[([^\[\]]*)\]\(([\w.-]{1,64})\)")
"""In an answer: `[words](p1)`, words of the answer that stand for what phrase p1 names."""

Status = Literal["new", "proposed", "accepted", "needs work"]
"""new: a person is at it. proposed: by a model, nobody has looked yet. Only what is accepted is built."""
Reason = Literal["absent", "wrong attribute", "wrong relation", "other"]
"""Why a phrase names nothing in the picture: no such thing; one, but not such; such, but not there; something else."""

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
Name = Annotated[str, Meta(max_length=200)]
Said = Annotated[str, Meta(max_length=2_000)]
Long = Annotated[str, Meta(max_length=32_000)]
Side = Annotated[int, Meta(ge=1, le=1 << 30)]
Links = Annotated[list[Id], Meta(max_length=MOST)]


class Made(msgspec.Struct, omit_defaults=True):
    """Who made a thing, and how.

    by: annotator or model, at: of the last change, in UTC as ISO 8601, tool: with its version. seconds: of work.
    """

    by: Name = ""
    at: Name = ""
    tool: Name = ""
    seconds: Annotated[float, Meta(ge=0, le=1e9)] = 0.0


class Proposal(msgspec.Struct, omit_defaults=True):
    """The mask as a model proposed it, whatever became of it."""

    model: Name
    rle: RLE
    at: Name = ""


class DrawnMask(msgspec.Struct, omit_defaults=True):
    """Pixels of the upright picture.

    role: `ignore` for what counts neither for nor against anything in the picture, `rejected` for a proposal that somebody
    refused, which is kept to be counted.
    """

    id: Id
    rle: RLE
    role: Literal["target", "ignore", "rejected"] = "target"
    categories: Annotated[list[Name], Meta(max_length=20)] = []
    notes: Said = ""
    made: Made = msgspec.field(default_factory=Made)
    proposal: Proposal | None = None


class ProposedText(msgspec.Struct, omit_defaults=True):
    """A phrase as a model worded it, whatever became of it."""

    model: Name
    text: Said
    at: Name = ""


class SaidPhrase(msgspec.Struct, omit_defaults=True):
    """A phrase and the masks that it names together. nothing: it names nothing in the picture, and why.

    proposal: of a phrase that no person thought of.
    """

    id: Id
    text: Said
    masks: Links = []
    nothing: Reason | None = None
    status: Status = "new"
    notes: Said = ""
    made: Made = msgspec.field(default_factory=Made)
    proposal: ProposedText | None = None

    def __post_init__(self) -> None:
        if len(set(self.masks)) < len(self.masks):
            raise ValueError(f"phrase {self.id} names a mask twice")
        if self.nothing and self.masks:
            raise ValueError(f"phrase {self.id} names masks, and nothing")
        if self.status == "accepted" and not (self.text.strip() and (self.nothing or self.masks)):
            raise ValueError(f"phrase {self.id} is accepted without a text, or without masks or a reason for none")


class SaidTurn(msgspec.Struct):
    """A question or an instruction, and its answer, in which `LINK`s stand for masks."""

    question: Said
    answer: Said

    @property
    def phrases(self) -> list[str]:
        """Ids of the phrases whose masks the answer gives, in order."""
        return [phrase for _, phrase in LINK.findall(self.answer)]


class SaidDialogue(msgspec.Struct, omit_defaults=True):
    """Turns about the picture, in their order. made: as of a phrase."""

    id: Id
    turns: Annotated[list[SaidTurn], Meta(min_length=1, max_length=MOST_TURNS)]
    status: Status = "new"
    notes: Said = ""
    made: Made = msgspec.field(default_factory=Made)

    def __post_init__(self) -> None:
        blank = any(not (turn.question.strip() and turn.answer.strip()) for turn in self.turns)
        if self.status == "accepted" and blank:
            raise ValueError(f"dialogue {self.id} is accepted, and lacks a question or an answer")

    @property
    def phrases(self) -> set[str]:
        """Ids of all phrases whose masks its answers give."""
        return set(chain.from_iterable(turn.phrases for turn in self.turns))


class ReviewedTarget(msgspec.Struct):
    """A target of a built record. mask: what stands for it here, "" if it is empty. was: digest of its mask, as of patches."""

    id: Long
    mask: str
    was: Name


class ReviewedPhrase(msgspec.Struct):
    """A phrase of a built record, as it said. phrase: what stands for it here. targets: ids, in the order of its answer."""

    id: Long
    phrase: Id
    text: Said
    targets: list[Long]


class ReviewedRecord(msgspec.Struct):
    """A built record that is looked at again. ignored: digest of all that its targets ignore, "" without any."""

    set: Name
    record: Name
    ignored: Name
    targets: list[ReviewedTarget]
    phrases: list[ReviewedPhrase]


class Reviewed(msgspec.Struct):
    """What built sets said of the picture when its review began.

    orientation: EXIF's, by which masks were turned upright. ignored: digest of all that was to be ignored, as of patches, "" if
    nothing was.
    """

    orientation: Annotated[int, Meta(ge=1, le=8)]
    ignored: Name
    records: list[ReviewedRecord]


class ImageFile(msgspec.Struct):
    """path: relative to the folder of pictures, with `/`. width, height: pixels of the upright picture."""

    path: Annotated[str, Meta(min_length=1, max_length=4_000)]
    width: Side
    height: Side


class AnnotatedImage(msgspec.Struct, omit_defaults=True):
    """One picture with all that is said of it. revision: how often it was changed. reviewed: what there was, in a review."""

    schema: Literal["stamp.annotations/1"]
    image: ImageFile
    revision: Annotated[int, Meta(ge=0)] = 0
    phrases: Annotated[list[SaidPhrase], Meta(max_length=MOST)] = []
    masks: Annotated[list[DrawnMask], Meta(max_length=MOST)] = []
    dialogues: Annotated[list[SaidDialogue], Meta(max_length=MOST)] = []
    notes: Long = ""
    reviewed: Reviewed | None = None

    def __post_init__(self) -> None:
        known = {mask.id for mask in self.masks}
        for things in (self.phrases, self.masks, self.dialogues):
            if len({thing.id for thing in things}) < len(things):
                raise ValueError("two things have the same id")
        for mask in self.masks:
            for rle in (mask.rle, mask.proposal.rle if mask.proposal else mask.rle):
                if rle.size != (self.image.height, self.image.width):
                    raise ValueError(f"mask {mask.id} is of another picture's size")
        known -= {mask.id for mask in self.masks if mask.role == "rejected"}
        for phrase in self.phrases:
            if missing := set(phrase.masks) - known:
                raise ValueError(f"phrase {phrase.id} names mask {min(missing)}, which is not there")
        phrases = {phrase.id for phrase in self.phrases}
        for dialogue in self.dialogues:
            if missing := dialogue.phrases - phrases:
                raise ValueError(f"dialogue {dialogue.id} names phrase {min(missing)}, which is not there")
