"""One record as the index knows it: where its members lie in a shard, and what planning needs to know of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stamp_schemas import Record

MEMBERS = ("image", "json", "labels")
KEY = re.compile(r"[a-z0-9_+-]{1,80}")  # of a record: harmless in names of files


class IndexRow(msgspec.Struct):
    """One record of a shard. shard: its file name; row: its place in the shard, from 0.

    Column meanings are those of docs/shard-format.md.

    A member that the record lacks has offset 0, bytes 0 and hash 0. Lists have one entry per dialogue; `text_tokens` is
    None where no tokenizer was given to the build. foreground: covered fraction of the patches, averaged over targets.
    """

    shard: str
    row: int
    key: str
    image_extension: str
    image_offset: int
    image_bytes: int
    image_xxh3: int
    json_offset: int
    json_bytes: int
    json_xxh3: int
    labels_offset: int
    labels_bytes: int
    labels_xxh3: int
    width: int
    height: int
    grid_height: int
    grid_width: int
    image_tokens: int
    dialogues: int
    targets: int
    foreground: float
    turns: list[int]
    masks: list[int]
    text_chars: list[int]
    text_tokens: list[int] | None

    def member_name(self, member: str) -> str:
        """File name of `member` (one of MEMBERS) in the tar."""
        suffix = {"image": self.image_extension, "json": "json", "labels": "labels.npy"}[member]
        return f"{self.key}.{suffix}"

    def span(self, member: str) -> tuple[int, int, int]:
        """(offset, bytes, xxh3-64) of `member` (one of MEMBERS) in the shard."""
        return getattr(self, f"{member}_offset"), getattr(self, f"{member}_bytes"), getattr(self, f"{member}_xxh3")

    @property
    def labels_shape(self) -> tuple[int, int, int]:
        """(targets, grid height, grid width) of the labels."""
        return self.targets, self.grid_height, self.grid_width

    @property
    def members(self) -> list[str]:
        """The members that this record has, in tar order."""
        return [member for member in MEMBERS if getattr(self, f"{member}_bytes")]


def described(record: Record, extension: str) -> dict[str, Any]:
    """The columns that follow from a record's content and the extension of its image, "" if it has none."""
    image, grid, dialogues = record.image, record.grid, record.dialogues
    return {
        "image_extension": extension,
        "width": image.width if image else 0,
        "height": image.height if image else 0,
        "grid_height": grid.height if grid else 0,
        "grid_width": grid.width if grid else 0,
        "image_tokens": grid.tokens if grid else 0,
        "dialogues": len(dialogues),
        "targets": len(record.targets),
        "turns": [len(dialogue.messages) for dialogue in dialogues],
        "masks": [dialogue.masks for dialogue in dialogues],
        "text_chars": [dialogue.characters for dialogue in dialogues],
    }


def placed(spans: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The columns that say where members lie; spans: (offset, bytes, xxh3-64) by member."""
    return {
        f"{member}_{what}": value
        for member in MEMBERS
        for what, value in zip(("offset", "bytes", "xxh3"), spans.get(member, (0, 0, 0)), strict=True)
    }
