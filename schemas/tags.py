"""Records that somebody has set apart while looking at them, a JSON object a line: `inspect --tags` writes such a file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

TAGS_SCHEMA: Literal["stamp.tags/1"] = "stamp.tags/1"
MOST_TAGS = 20  # of one record

Tag = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f,]+$")]


class TaggedRecord(msgspec.Struct, kw_only=True):
    """A record and what it was tagged with. set, record: its set's name and its key there; place: of the set."""

    schema: Literal["stamp.tags/1"] = TAGS_SCHEMA
    set: str
    record: str
    tags: Annotated[list[Tag], Meta(min_length=1, max_length=MOST_TAGS)]
    place: str = ""
