"""What built records say of one picture, as annotations to begin with: phrases and masks that people are to look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.frame import UPRIGHT, turned
from stamp_data.inspect.record_stats import normalised
from stamp_data.patches import mask_digest
from stamp_schemas import RLE, Record, TargetInfo
from stamp_schemas.annotated import (
    DrawnMask,
    Proposal,
    Reason,
    Reviewed,
    ReviewedPhrase,
    ReviewedRecord,
    ReviewedTarget,
    SaidPhrase,
)

LONGEST = 200  # characters of a proposer's name


class _Asked(NamedTuple):
    """One request of a record. id: as the record's source calls it. targets: indices, one for each mask of its answer."""

    id: str
    text: str
    targets: list[int]


class Draft:
    """What the records of one picture say. orientation: its EXIF's, by which masks are turned upright."""

    def __init__(self, orientation: int) -> None:
        self._orientation = orientation
        self._masks: dict[str, DrawnMask] = {}
        self._phrases: dict[str, SaidPhrase] = {}
        self._ignored: list[RLE] = []
        self._reviewed: list[ReviewedRecord] = []

    def add(self, record: Record, name: str, of_set: str = "") -> None:
        """Take what a record says. name: whose proposals these are. of_set: the name of the set, if it is to be reviewed."""
        used: dict[int, str] = {}
        phrases = []
        for asked in _requests(record):
            targets = dict.fromkeys(asked.targets)
            for index in targets:
                used[index] = self._mask(record.targets[index], name) if record.targets[index].area else ""
            named = list(dict.fromkeys(used[index] for index in targets if used[index]))
            phrase = self._phrase(asked.text, named)
            phrases.append(
                ReviewedPhrase(asked.id, phrase.id, asked.text, [record.targets[index].id for index in asked.targets])
            )
        ignored = [target.ignore_rle for target in record.targets if target.ignore_rle]
        self._ignored += ignored
        if of_set:
            seen = [
                ReviewedTarget(record.targets[index].id, mask, mask_digest(record.targets[index].rle))
                for index, mask in used.items()
            ]
            all_ignored = mask_digest(rle.union(ignored)) if ignored else ""
            self._reviewed.append(ReviewedRecord(of_set, record.key, all_ignored, seen, phrases))

    def change(self) -> Change:
        """What makes untouched annotations say all of it."""
        masks = {mask.id: mask for mask in self._masks.values()}
        ignored = rle.union(self._ignored) if self._ignored else None
        if ignored:
            masks["ignored"] = DrawnMask("ignored", self._upright(ignored), "ignore")
        digest = mask_digest(ignored) if ignored else ""
        reviewed = Reviewed(self._orientation, digest, self._reviewed) if self._reviewed else msgspec.UNSET
        phrases = {phrase.id: phrase for phrase in self._phrases.values()}
        return Change({**phrases}, {**masks}, reviewed=reviewed)

    def _phrase(self, text: str, named: list[str]) -> SaidPhrase:
        """The phrase of these words and masks; there is one, however often it was said."""
        nothing: Reason | None = None if named else "other"
        fresh = SaidPhrase(f"p{len(self._phrases) + 1}", text, named, nothing, "proposed")
        return self._phrases.setdefault(f"{normalised(text)} {named}", fresh)

    def _mask(self, target: TargetInfo, name: str) -> str:
        """The id of a target's mask; of targets with the same pixels there is one."""
        held = self._upright(target.rle)
        proposal = Proposal(name[-LONGEST:], held)
        fresh = DrawnMask(f"m{len(self._masks) + 1}", held, categories=_distinct(target.categories), proposal=proposal)
        return self._masks.setdefault(held.counts, fresh).id

    def _upright(self, mask: RLE) -> RLE:
        return turned(mask, UPRIGHT, self._orientation)


def _requests(record: Record) -> Iterator[_Asked]:
    """Each request of a record once, however often it was drawn; nothing of conversations, and of dialogues somebody wrote."""
    seen = set[str]()
    for dialogue in record.dialogues:
        if dialogue.is_written:
            continue
        answers = [message for message in dialogue.messages if message.role == "assistant"]
        single = [dialogue.id.rpartition("-p")[0]]
        names = single if dialogue.rounds is msgspec.UNSET else [one.id for one in dialogue.rounds]
        rest = list(dialogue.targets)
        for name, text, answer in zip(names, dialogue.expressions, answers, strict=False):
            if name not in seen:
                yield _Asked(name, text, rest[: answer.masks])
            seen.add(name)
            del rest[: answer.masks]


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name[:LONGEST] for name in names))[:20]
