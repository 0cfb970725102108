"""One record as the index knows it: where its members lie in a shard, and what planning needs to know of it."""

from __future__ import annotations

import msgspec

MEMBERS = ("image", "json", "labels")


class IndexRow(msgspec.Struct):
    """One record of a shard. shard: its file name; row: its place in the shard, from 0.

    Column meanings are those of docs/shard-format.md.

    A member that the record lacks has offset 0, bytes 0 and hash 0. Lists have one entry per dialogue; `text_tokens` is
    None where no tokenizer was given to the build. foreground: covered share of the patches, averaged over targets.
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
