"""A patch of built sets: what somebody changed of single records, a JSON object a line (docs/annotate.md)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stamp_schemas.record import RLE

PATCH_SCHEMA: Literal["stamp.patch/1"] = "stamp.patch/1"
MOST_CHANGES = 10_000  # of one kind in one record

Label = Annotated[str, Meta(min_length=1, max_length=32_000)]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{32})?$")]
"""Of what a change was made of (`stamp_data.patches`); "" if that was not there."""


class TargetChange(msgspec.Struct, omit_defaults=True):
    """A target that is new (without `was`), or whose mask is another now. rle: of the upright picture.

    instances, categories: of a new one; one that was there keeps its own.
    """

    id: Label
    rle: RLE
    was: Digest = ""
    instances: list[Label] = []
    categories: list[Label] = []


class PhraseChange(msgspec.Struct, omit_defaults=True):
    """A phrase as it is now: new without `was`, gone without `text`.

    targets: one for each mask of its answer, by id; none if it names nothing.
    """

    id: Label
    was: Digest = ""
    text: str = ""
    targets: Annotated[list[Label], Meta(max_length=MOST_CHANGES)] = []

    def __post_init__(self) -> None:
        if not (self.was or self.text):
            raise ValueError(f"phrase {self.id} neither is new nor was there")


class IgnoreChange(msgspec.Struct, omit_defaults=True):
    """What counts neither for nor against any target of the record. rle: None if nothing does any more."""

    was: Digest = ""
    rle: RLE | None = None


class RecordPatch(msgspec.Struct, omit_defaults=True):
    """What changed of one record. set: its name, as `refcoco-unc/val`. record: its key."""

    schema: Literal["stamp.patch/1"]
    set: Label
    record: Label
    targets: Annotated[list[TargetChange], Meta(max_length=MOST_CHANGES)] = []
    phrases: Annotated[list[PhraseChange], Meta(max_length=MOST_CHANGES)] = []
    ignore: IgnoreChange | None = None

    def __post_init__(self) -> None:
        for changes in (self.targets, self.phrases):
            if len({one.id for one in changes}) < len(changes):
                raise ValueError("two changes are of the same id")
