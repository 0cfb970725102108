"""The members of one record in its shard: one ranged read, every member checked by its hash."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from stamp_data.shards.stores import Store
from stamp_schemas import StampError

HEADER = 512  # bytes of a tar header, right before the data of its member
Spans = Sequence[Sequence[int]]
"""(offset, bytes, xxh3-64) of members in the order of their places; 0 bytes where there is none."""


class Damaged(Exception):
    """The bytes of a member are not those of the index. member: which of the spans. header: what lies before them."""

    def __init__(self, member: int, header: bytes) -> None:
        super().__init__(member)
        self.member, self.header = member, header


def read_members(tars: Store, shard: str, spans: Spans) -> list[memoryview]:
    """The bytes of each member; empty where there is none.

    What does not hash to what the index says is read once more, since it may have been the way. Damaged if that does not
    help, StampError for a shard that cannot be read.
    """
    there = [span for span in spans if span[1]]
    if not there:
        return [memoryview(b"")] * len(spans)
    last, size, _ = there[-1]
    begin, end = there[0][0] - HEADER, last + size
    if begin < 0 or end < begin:
        raise StampError(f"{tars}/{shard}: the index has a member at byte {begin + HEADER:,}", "is the index damaged?")
    data = memoryview(tars.read(shard, begin, end - begin))
    parts, wrong = _cut(data, begin, spans)
    if wrong is None:
        return parts
    data = memoryview(tars.reread(shard, begin, end - begin))
    parts, wrong = _cut(data, begin, spans)
    if wrong is None:
        return parts
    at = spans[wrong][0] - begin
    raise Damaged(wrong, bytes(data[at - HEADER : at]))


def _cut(data: memoryview, begin: int, spans: Spans) -> tuple[list[memoryview], int | None]:
    """The members in `data`, and the number of the first whose hash differs."""
    parts: list[memoryview] = []
    for number, (offset, size, xxh3) in enumerate(spans):
        part = data[offset - begin : offset - begin + size] if size else data[:0]
        if size and xxh3_64_intdigest(part) != xxh3:
            return parts, number
        parts.append(part)
    return parts, None
