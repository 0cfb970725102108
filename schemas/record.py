"""`K.json`: the record of one picture in a shard (docs/shard-format.md)."""

from __future__ import annotations

from typing import Literal

import msgspec

RECORD_SCHEMA: Literal["stamp.record/1"] = "stamp.record/1"
SEG = "<|seg|>"  # what the assistant says for a mask
CHARACTERS_PER_TOKEN = (
    4.0  # an estimate on the safe side: 4.4 to 4.9 in LLaVA's and RefCOCO's texts under Qwen2's tokenizer
)
WRITTEN = "written"  # relation of the rounds of a dialogue that somebody wrote as a whole
FULL, IGNORE = 254, 255  # labels of a patch: wholly covered; counting neither for nor against
Origin = list[str] | msgspec.UnsetType
"""A raw file, relative to the dataset's root, and the records in it; unset in what was written before it was kept."""


class RLE(msgspec.Struct):
    """COCO run-length mask, column-major, compressed counts. size: [height, width] in pixels."""

    size: tuple[int, int]
    counts: str


class Grid(msgspec.Struct, frozen=True):
    """Merged Qwen2-VL patches, rows and columns; one language-model token each."""

    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.height * self.width


class SourceInfo(msgspec.Struct):
    dataset: str
    split_by: str
    split: str
    image_id: str | int


class ImageInfo(msgspec.Struct):
    """width, height: pixels as stored (EXIF rotation is never applied)."""

    file_name: str
    width: int
    height: int


class TargetInfo(msgspec.Struct):
    """area: pixels under the mask; bbox: [x, y, width, height] of the mask in pixels; both derived from `rle`.

    where: the regions that `rle` and `ignore_rle` were made of; without any, what says that nothing is meant.
    """

    id: str
    rle: RLE
    area: int
    bbox: tuple[float, float, float, float]
    instances: list[str]
    categories: list[str]
    ignore_rle: RLE | None
    where: Origin = msgspec.UNSET


class Content(msgspec.Struct, omit_defaults=True):
    type: Literal["image", "text"]
    text: str = ""


class Message(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    content: list[Content]

    @property
    def masks(self) -> int:
        """How many it asks for, of the assistant: one per `<|seg|>`."""
        return sum([content.text.count(SEG) for content in self.content]) if self.role == "assistant" else 0


class Round(msgspec.Struct, omit_defaults=True):
    """One question of a dialogue that a build has joined, with its answer: the request that it was.

    id, expression, where: of that request. reference: what the question says instead of the expression, `person left of it`, ""
    if it says the expression. relation, anchor: what the reference holds by, and the number, from 0, of the earlier round that
    it refers to; "" and -1 without a reference. Rounds of a dialogue that somebody wrote have the relation WRITTEN, their
    questions as expressions, and no meaning without those before them.
    """

    id: str
    expression: str
    where: Origin = msgspec.UNSET
    reference: str = ""
    relation: str = ""
    anchor: int = -1

    @property
    def said(self) -> str:
        """How the question calls what is to be found."""
        return self.reference or self.expression


class Dialogue(msgspec.Struct):
    """targets: one index into the record's targets per `<|seg|>` in the assistant's turns, in order of appearance.

    expression: "" in conversations and in dialogues of several rounds, whose expressions the rounds have. where: what bears the
    expression or the conversation. rounds: of a dialogue that was joined of several requests, or that somebody wrote with
    masks, one per answer; else unset.
    """

    id: str
    expression: str
    targets: list[int]
    messages: list[Message]
    where: Origin = msgspec.UNSET
    rounds: list[Round] | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_written(self) -> bool:
        """Whether somebody wrote it as a whole, with masks."""
        return self.rounds is not msgspec.UNSET and any(one.relation == WRITTEN for one in self.rounds)

    @property
    def expressions(self) -> list[str]:
        """Of all its rounds, as the data set has them; none of a conversation."""
        if self.rounds is msgspec.UNSET:
            return [self.expression] if self.expression else []
        return [one.expression for one in self.rounds]

    def said(self, answer: int) -> str:
        """How the question before answer number `answer`, from 0, calls what is to be found; "" in a conversation."""
        rounds = [] if self.rounds is msgspec.UNSET else self.rounds
        return rounds[answer].said if answer < len(rounds) else self.expression

    @property
    def masks(self) -> int:
        """How many masks its answers ask for: one per `<|seg|>`."""
        masks = 0  # counted in plain loops, three times as fast: a build asks once per dialogue
        for turn in self.messages:
            if turn.role == "assistant":
                for content in turn.content:
                    masks += content.text.count(SEG)
        return masks

    @property
    def characters(self) -> int:
        """Of all its texts."""
        return sum([len(content.text) for turn in self.messages for content in turn.content])


class Record(msgspec.Struct):
    """One picture with all its targets and dialogues; `image` and `grid` are None for a text-only conversation."""

    schema: Literal["stamp.record/1"]
    key: str
    source: SourceInfo
    image: ImageInfo | None
    grid: Grid | None
    targets: list[TargetInfo]
    dialogues: list[Dialogue]
