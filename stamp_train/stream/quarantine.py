"""Records that could not be used: each named once, in a file, and the run stopped when there are too many."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stamp_schemas.errors import StampError, naming

_log = logging.getLogger(__name__)
GRACE = 1000  # records; of fewer, the ratio is taken as if there were so many
LISTED = 5
QUARANTINE = "quarantine.jsonl"  # of a run folder


class BadRow(msgspec.Struct, frozen=True):
    """One row of quarantine.jsonl: a record that was replaced. replacement: key of the record that stood in."""

    set: str
    digest: str
    shard: str
    row: int
    key: str
    reason: str
    detail: str
    replacement: str


class Quarantine:
    """The bad records of a run.

    path: of quarantine.jsonl; what it names already is not named again. max_bad_ratio: stop when a larger part of the records
    was bad. records: how many there are: one that is read again in another group or epoch counts once.
    """

    def __init__(self, path: Path | None, max_bad_ratio: float, records: int) -> None:
        self.path, self.max_bad_ratio = path, max_bad_ratio
        self.read = 0
        self.bad: dict[tuple[str, str], BadRow] = {}
        self._records = records
        self._named = set() if path is None or not path.exists() else _named_in(path)

    def note(self, bad: Sequence[BadRow]) -> None:
        """One more record was wanted, and these were bad before one could be had. StampError if that makes too many."""
        self.read += 1
        for row in bad:
            self.bad[row.digest, row.key] = row
            if (row.digest, row.key) not in self._named:
                self._named.add((row.digest, row.key))
                instead = f"{row.replacement} stands in" if row.replacement else "left out"
                _log.warning("%s: %s: %s; %s", row.shard, row.key, row.detail, instead)
                self._write(row)
        seen = min(self.read, self._records)
        if len(self.bad) > self.max_bad_ratio * max(seen, GRACE):
            last = "; ".join(f"{row.set} {row.shard} {row.key}: {row.detail}" for row in [*self.bad.values()][-LISTED:])
            raise StampError(
                f"{len(self.bad)} of {seen:,} records were bad, more than max_bad_ratio={self.max_bad_ratio} allows; "
                f"the last: {last}",
                f"{self.path} has all of them" if self.path else "`stamp-data verify` finds all of them",
            )

    def _write(self, row: BadRow) -> None:
        if self.path is None:
            return
        with naming(self.path), self.path.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(row) + b"\n")  # one call: rows of several ranks do not mix


def _named_in(path: Path) -> set[tuple[str, str]]:
    """(set digest, key) of every row that is there; a last line that was cut off by a kill is passed over."""
    named = set()
    for line in path.read_bytes().splitlines():
        try:
            row = msgspec.json.decode(line, type=BadRow)
        except msgspec.MsgspecError:
            continue
        named.add((row.digest, row.key))
    return named
