"""Formats of pictures with phrases: what labelme, Label Studio, SA-Co, and masks with a table have in common.

In all of them a phrase names all that bears it in its picture, once, and nothing around it is kept. So there is no place for
several masks in one answer, for conversations, and for words that mean something else in the same picture.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from stamp_data.export.base import Format, image_name
from stamp_data.export.texts import requests_of, single_round
from stamp_data.frame import UPRIGHT, turned, upright_size
from stamp_data.picture import PictureFault, check_picture
from stamp_data.shards.reader import Loaded
from stamp_data.sources.phrases import IGNORE
from stamp_data.text import look
from stamp_schemas import RLE, Dialogue, ImageInfo, Record, StampError, TargetInfo

UNNAMED = "object"  # label of a target without a category


@dataclass
class Page:
    """One picture. image: as the format shows it. named: phrases by the target that is there; nothing: those of none.

    ignored: what counts neither for nor against any of them.
    """

    key: str
    image: ImageInfo
    targets: list[TargetInfo]
    named: dict[int, list[str]] = field(default_factory=dict)
    nothing: list[str] = field(default_factory=list)
    ignored: RLE | None = None


class PhraseFormat(Format):
    """Gives a format pages instead of records.

    place: what a phrase belongs to there, for people. upright: its coordinates are of the picture that people see.
    ignores: it can say what is to be ignored. reserved: phrases that would mean something else.
    """

    place: ClassVar[str]
    by_request = True
    upright: ClassVar[bool] = False
    ignores: ClassVar[bool] = True
    reserved: ClassVar[tuple[str, ...]] = (IGNORE,)

    @abstractmethod
    def write(self, page: Page, loaded: Loaded) -> None:
        """Write one picture and what is said in it."""

    def add(self, loaded: Loaded) -> None:
        record = _as_shown(loaded) if self.upright else loaded.record
        answers = self.counted(loaded)["answers"]
        self.tally.lose("answers", "answers", "a phrase has no answer around it", record.key, answers)
        if loaded.image is None or record.image is None:
            why = f"{self.place} belongs to a picture"
            self.tally.lose("text-only", "records", why, record.key)
            self.tally.lose("text-only", "dialogues", why, record.key, self.counted(loaded)["dialogues"])
            return
        page = Page(record.key, record.image, record.targets)
        self._name(page, record)
        page.ignored = self._ignored(record)
        self.write(page, loaded)
        self.tally.hold(records=1, pictures=1)

    def _name(self, page: Page, record: Record) -> None:
        """Put phrases to their targets, by how their words look: the target, and the sentence that it was first drawn from."""
        held: dict[str, tuple[int, str]] = {}
        for dialogue in requests_of(record):
            if loss := self._loss(dialogue, held):
                self.tally.lose(loss[0], "dialogues", loss[1], record.key)
                continue
            self.tally.hold(dialogues=1)
            number, words = dialogue.targets[0], look(dialogue.expression)
            if words not in held:  # else a further pass over the sentence, which the phrase stands for
                held[words] = number, _sentence(dialogue)
                there = page.named.setdefault(number, []) if page.targets[number].area else page.nothing
                there.append(dialogue.expression)
        shown = {number for number, _ in held.values()}
        self.tally.hold(targets=len(shown))
        why = "only dialogues that cannot be held ask for them"
        self.tally.lose("in-lost-dialogues", "targets", why, record.key, len(record.targets) - len(shown))

    def _loss(self, dialogue: Dialogue, held: dict[str, tuple[int, str]]) -> tuple[str, str] | None:
        """(code, why) of a dialogue that no phrase can hold."""
        if single_round(dialogue) is None or not dialogue.expression:
            return "conversation", f"{self.place} has a text, not turns"
        if len(dialogue.targets) != 1:
            return "several-masks", f"{self.place} is one area, the expression asks for several"
        if dialogue.expression in self.reserved:
            return "reserved-words", "the expression would mean something else there"
        number = dialogue.targets[0]
        first, sentence = held.get(look(dialogue.expression), (number, _sentence(dialogue)))
        if first != number:
            why = "a phrase names all that bears it, and these words mean another target of the picture too"
            return "same-words", why
        if sentence != _sentence(dialogue):
            return "repeated", "the same words for the same target once more"
        return None

    def _ignored(self, record: Record) -> RLE | None:
        """The region that every target of the picture has around it."""
        masks = {target.ignore_rle.counts if target.ignore_rle else None for target in record.targets}
        count = sum(target.ignore_rle is not None for target in record.targets)
        shared = record.targets[0].ignore_rle if len(masks) == 1 and record.targets else None
        if shared is not None and self.ignores:
            self.tally.hold(ignored=count)
            return shared
        why = (
            f"{IGNORE} counts for every target of its picture"
            if self.ignores
            else "a region there is of a phrase, or not said"
        )
        code = "ignored-per-target" if self.ignores else "ignored-regions"
        self.tally.lose(code, "ignored", why, record.key, count)
        return None


def label(target: TargetInfo) -> str:
    """Its first category, unless that would be taken for a mark of what is to be ignored."""
    first = target.categories[0] if target.categories else UNNAMED
    return UNNAMED if first.strip() == IGNORE else first


def _as_shown(loaded: Loaded) -> Record:
    """The record in the frame of its upright picture."""
    record = loaded.record
    if loaded.image is None or record.image is None:
        return record
    name = image_name(loaded)
    try:
        picture = check_picture(loaded.image, name)
    except PictureFault as fault:
        raise StampError(fault.message, "stamp-data verify says what else is damaged") from None
    if picture.orientation == 1:
        return record
    targets = [_upright(target, picture.orientation) for target in record.targets]
    width, height = upright_size(picture)
    image = msgspec.structs.replace(record.image, width=width, height=height)
    return msgspec.structs.replace(record, image=image, targets=targets)


def _upright(target: TargetInfo, orientation: int) -> TargetInfo:
    rle = turned(target.rle, UPRIGHT, orientation)
    ignore = turned(target.ignore_rle, UPRIGHT, orientation) if target.ignore_rle else None
    return msgspec.structs.replace(target, rle=rle, ignore_rle=ignore)


def _sentence(dialogue: Dialogue) -> str:
    """Which sentence of the source a dialogue was drawn from; passes over the same one differ in the end of their ids."""
    return dialogue.id.rpartition("-p")[0]
