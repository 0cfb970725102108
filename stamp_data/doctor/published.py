"""What is published about the datasets: how much each split holds, and where it comes from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec


class Download(msgspec.Struct):
    """Where a part comes from. into: folder under the root."""

    what: str
    into: str
    url: str


class Counts(msgspec.Struct, omit_defaults=True):
    """How much a split holds; None where that is unknown. A conversation counts as a sentence."""

    refs: int | None = None
    sentences: int | None = None
    images: int | None = None


class Published(msgspec.Struct):
    """What is published about a dataset. counts: by way of splitting and split."""

    downloads: list[Download]
    pictures: list[Download]
    counts: dict[str, dict[str, Counts]]

    def count(self, split_by: str, split: str) -> Counts | None:
        """How much a split holds, None if nothing is known of it."""
        return self.counts.get(split_by, {}).get(split)


@cache
def published() -> dict[str, Published]:
    """By dataset."""
    path = Path(__file__).parent / "published.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Published])
