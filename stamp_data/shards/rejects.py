"""Collecting what is refused, so that nothing is dropped without a row in rejects.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from stamp_data.files import SHARD_LIMIT, UNDECODABLE, read_plain
from stamp_schemas import Reject, StampError

DETAIL_LIMIT = 300  # characters; source text is quoted in details and may be of any length


def storable(text: str) -> str:
    """`text` as a UTF-8 file can hold it: bytes of a file's name that are no text are written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class RejectLog:
    """A list of `Reject` rows with a shorthand for adding one. shard: the shard that the rows belong to, if any."""

    def __init__(self, shard: str = "") -> None:
        self.shard = shard
        self.rows: list[Reject] = []

    def add(
        self,
        file: str,
        record: str,
        reason: str,
        detail: str,
        *,
        action: Literal["dropped", "cleaned"] = "dropped",
        expressions: int = 0,
    ) -> None:
        """Note one refused or altered input; `Reject` explains the fields."""
        if len(detail) > DETAIL_LIMIT:
            detail = detail[: DETAIL_LIMIT - 1] + "…"
        texts = storable(file), storable(record), reason, storable(detail)
        self.rows.append(Reject(*texts, action, expressions, self.shard))


def reject_order(row: Reject) -> tuple[str, str, str, str]:
    """Sort key that depends on nothing but a row's content."""
    return row.file, row.record, row.reason, row.detail


def by_reason(rows: Iterable[Reject]) -> str:
    """How many inputs were dropped for which reason, the commonest first: `no-area 5, bad-shape 2`."""
    counts = Counter(row.reason for row in rows if row.action == "dropped")
    return ", ".join(
        f"{reason} {count:,}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def rejects_bytes(rows: Iterable[Reject]) -> bytes:
    """The content of a rejects.jsonl: the same for equal rows, whatever way they came.

    Not by msgspec's own `omit_defaults`, which compares by identity: a row that came from another process or out of a file
    holds texts of its own, and would be written otherwise than one that was made here.
    """
    return msgspec.json.Encoder().encode_lines(map(_written, rows))


def _written(row: Reject) -> dict[str, str | int]:
    fields: dict[str, str | int] = msgspec.structs.asdict(row)
    return {name: value for name, value in fields.items() if value or name not in ("expressions", "shard")}


def read_rejects(path: Path) -> list[Reject]:
    """The rows of a rejects.jsonl; StampError if it is missing or damaged."""
    try:
        return [msgspec.json.decode(line, type=Reject) for line in read_plain(path, SHARD_LIMIT).splitlines()]
    except (OSError, *UNDECODABLE) as fault:
        raise StampError(f"{path}: not a readable reject list: {fault}") from None
