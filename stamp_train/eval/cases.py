"""What an evaluation asks: every sentence of a shard set is a case, with a question, a true answer and true masks.

A case is one answer of a dialogue that holds `<|seg|>`; what was said before belongs to its question. Which cases there are
follows from the index alone, so that a damaged record leaves a gap with a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stamp_data import rle as rles
from stamp_data.instructions import alternatives
from stamp_data.pixels import decode_picture
from stamp_data.shards.index import IndexRow
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import Location, StoreFault
from stamp_schemas import RLE, Content, Dialogue, Message, Record, StampError, UsageFault
from stamp_schemas.manifest import PATCH
from stamp_schemas.record import SEG

Mask = NDArray[np.bool_]
Prompting = Literal["record", "fixed"]
"""Where questions come from: `record` asks as the build drew it, `fixed` always with the first of its templates."""


@dataclass(frozen=True)
class Truth:
    """One true mask, bool [height, width] of the picture. ignore: pixels that are not scored, None if all are."""

    mask: Mask
    ignore: Mask | None


@dataclass(frozen=True)
class Case:
    """One question about a picture.

    id: `RECORD/DIALOGUE`, and `/TURN` for later answers of a dialogue. expression: what is to be found, as the question has it.
    messages: all that comes before the answer, true answers to earlier questions included, as `ChatEncoder.encode` takes it.
    begin: the true answer up to its last `<|seg|>`. truths: for each `<|seg|>` of the true answer. round: in a dialogue that a
    build has joined, from 1; else 0.
    """

    id: str
    expression: str
    messages: list[dict[str, Any]]
    begin: str
    truths: list[Truth]
    round: int = 0


@dataclass(frozen=True)
class ImageCases:
    """A picture with its cases, and what was wrong with others of its record: id and fault. factor: pixels per patch. file: its
    name.
    """

    key: str
    image: Image.Image | None
    cases: list[Case]
    damaged: list[tuple[str, str]]
    factor: int = PATCH
    file: str = ""


class CaseSet:
    """The cases of the shard set at a folder or URL; StampError if there is none.

    records: of so many of its records with cases at most, which are a random sample: records lie in the order of hashes.
    """

    def __init__(self, place: Location, prompting: Prompting = "record", records: int | None = None) -> None:
        self.shards = ShardSet(place)
        self.manifest = self.shards.manifest
        self.prompting = prompting
        self.rows = [row for row in self.shards.rows if self.count(row)][:records]

    @property
    def name(self) -> str:
        """Such as `refcoco-unc/val`."""
        return self.manifest.name

    def count(self, row: IndexRow) -> int:
        """Cases of a record as far as the index tells: no more than masks, nor than answers."""
        return sum(max(min(row.masks[number], row.turns[number] // 2), 1) for number in self.asking(row))

    def __len__(self) -> int:
        return sum(map(self.count, self.rows))

    def load(self, row: IndexRow) -> ImageCases:
        """The cases of a record; of what cannot be read, the ids and the reason."""
        try:
            record = self.shards.record(row)
            image = _picture(self.shards.member(row, "image"), record, row.member_name("image"))
        except StoreFault:
            raise  # says nothing about the record
        except StampError as fault:
            return ImageCases(row.key, None, [], [(f"{row.key}/#{i}", fault.message) for i in self.asking(row)])
        cases: dict[str, Case] = {}
        damaged: list[tuple[str, str]] = []
        for number in self.asking(row):
            try:
                found = {case.id: case for case in self._cases(record, record.dialogues[number])}
                if found.keys() & cases.keys():
                    raise ValueError(f"two dialogues are called {record.dialogues[number].id!r}")
                cases |= found
            except (ValueError, OverflowError, IndexError) as fault:
                damaged.append((f"{row.key}/#{number}", f"{row.member_name('json')}: {fault}"))
        factor, file = self.manifest.settings.pixels_per_patch, record.image.file_name if record.image else ""
        return ImageCases(row.key, image, list(cases.values()), damaged, factor, file)

    def wordings(self, row: IndexRow) -> dict[str, frozenset[str]]:
        """Every true answer that the build could have drawn for each case of a record, by the case's id."""
        record, wording = self.shards.record(row), self.manifest.settings.wording
        chosen = [record.dialogues[number] for number in self.asking(row)]
        return {
            case: frozenset([answer, *alternatives(answer, "answers", said, answer.count(SEG), wording)])
            for one in chosen
            for case, _, said, answer in _answers(record, one)
        }

    def close(self) -> None:
        """Let go of open files."""
        self.shards.close()

    def asking(self, row: IndexRow) -> list[int]:
        """Numbers of the dialogues with masks; where expressions were drawn more than once, of the first pass."""
        settings = self.manifest.settings
        passes = settings.passes if settings.split == "train" else 1
        return [number for number in range(row.dialogues // passes) if row.masks[number]]

    def _cases(self, record: Record, dialogue: Dialogue) -> Iterator[Case]:
        """ValueError or IndexError for targets that the record does not have, or that do not fit its picture."""
        before = 0
        is_joined = dialogue.rounds is not msgspec.UNSET
        for number, (case, turn, said, answer) in enumerate(_answers(record, dialogue)):
            segs = answer.count(SEG)
            asked = self._asked(said, dialogue.messages[:turn])
            targets = dialogue.targets[before : before + segs]
            yield Case(
                id=case,
                expression=said,
                messages=[_plain(one) for one in asked],
                begin=answer[: answer.rindex(SEG) + len(SEG)],
                truths=[_truth(record, target) for target in targets],
                round=number + 1 if is_joined else 0,
            )
            before += segs
        if not before or before != len(dialogue.targets):
            raise ValueError(f"dialogue {dialogue.id} has {len(dialogue.targets)} targets, its answers {before} {SEG}")

    def _asked(self, said: str, messages: list[Message]) -> list[Message]:
        """The messages before an answer; with fixed prompts a lone question is worded anew."""
        if self.prompting == "record" or len(messages) != 1 or not said:
            return messages
        question = _text(messages[0])
        known = alternatives(question, "questions", said, 1, self.manifest.settings.wording)
        return [Message(messages[0].role, [Content("image"), Content("text", known[0] if known else question)])]


def open_sets(
    paths: Sequence[Location], prompting: Prompting = "record", records: int | None = None
) -> tuple[list[CaseSet], list[str]]:
    """All sets at or below some paths that have masks, and the names of those that have none. Arguments as of `CaseSet`.

    StampError if no set has masks, UsageFault if two have one name.
    """
    sets = [CaseSet(store, prompting, records) for store in find_sets(*paths)]
    scored = [one for one in sets if len(one)]
    without = [one.name for one in sets if not len(one)]
    if not scored:
        raise StampError(
            f"{', '.join(without)}: no masks to score", "answers in words are scored by lmms-eval, see docs/vqa.md"
        )
    names = [one.name for one in scored]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise UsageFault(f"two sets are called {twice[0]}", "evaluate them one after the other")
    return scored, without


def _answers(record: Record, dialogue: Dialogue) -> Iterator[tuple[str, int, str, str]]:
    """The answers of a dialogue that hold `<|seg|>`, each a case: its id, its place among the messages, what the question calls
    what is to be found, its text.
    """
    first = True
    turns = [(turn, message) for turn, message in enumerate(dialogue.messages) if message.role == "assistant"]
    for number, (turn, message) in enumerate(turns):
        answer = _text(message)
        if SEG in answer:
            yield f"{record.key}/{dialogue.id}" + ("" if first else f"/{turn}"), turn, dialogue.said(number), answer
            first = False


def _picture(data: bytes, record: Record, name: str) -> Image.Image:
    """The picture in RGB as stored. StampError if it is none, or not of the size that the masks have."""
    if record.image is None or not data:
        raise StampError(f"{record.key}: masks without a picture")
    image = decode_picture(data, name)
    if image.size != (record.image.width, record.image.height):
        raise StampError(f"{name}: {image.size} pixels, the record says {(record.image.width, record.image.height)}")
    return image


def _truth(record: Record, number: int) -> Truth:
    if not 0 <= number < len(record.targets):
        raise ValueError(f"target {number} of {len(record.targets)}")
    assert record.image is not None  # checked with the picture
    target, size = record.targets[number], (record.image.height, record.image.width)
    ignore = None if target.ignore_rle is None else _mask(target.ignore_rle, *size)
    return Truth(_mask(target.rle, *size), ignore)


def _mask(rle: RLE, height: int, width: int) -> Mask:
    return rles.decode(rles.checked(height, width, rle.size, rle.counts)).astype(bool)


def _text(message: Message) -> str:
    return "".join(part.text for part in message.content if part.type == "text")


def _plain(message: Message) -> dict[str, Any]:
    parts = [
        {"type": "image"} if part.type == "image" else {"type": "text", "text": part.text} for part in message.content
    ]
    return {"role": message.role, "content": parts}
