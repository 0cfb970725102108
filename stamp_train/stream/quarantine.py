"""Records that could not be used: each named once, in a file, and the run stopped when there are too many."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stamp_schemas import StampError

_log = logging.getLogger(__name__)
GRACE = 1000  # records; before so many are read, the share is taken of this number
LISTED = 5


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

    Args:
        path: of quarantine.jsonl; None to keep none. A record that it names already is not named again.
        max_bad_share: stop when more than this share of the records read was bad.
    """

    def __init__(self, path: Path | None, max_bad_share: float) -> None:
        self.path, self.max_bad_share = path, max_bad_share
        self.read = 0
        self.bad: list[BadRow] = []
        self._known = set() if path is None or not path.exists() else _named_in(path)

    def note(self, bad: Sequence[BadRow], read: int) -> None:
        """`read` more records were wanted, of which some were bad. StampError if that makes too many."""
        self.read += read
        for row in bad:
            self.bad.append(row)
            if (row.digest, row.key) not in self._known:
                self._known.add((row.digest, row.key))
                _log.warning(
                    "%s: %s of %s: %s; %s stands in", row.key, row.reason, row.shard, row.detail, row.replacement
                )
                self._write(row)
        if len(self.bad) > self.max_bad_share * max(self.read, GRACE):
            named = "; ".join(f"{row.set} {row.shard} {row.key}: {row.detail}" for row in self.bad[-LISTED:])
            raise StampError(
                f"{len(self.bad)} of {self.read:,} records were bad, more than max_bad_share={self.max_bad_share} allows; "
                f"the last: {named}",
                f"{self.path} has all of them" if self.path else "`stamp-data verify` finds all of them",
            )

    def _write(self, row: BadRow) -> None:
        if self.path is None:
            return
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, msgspec.json.encode(row) + b"\n")  # one call: rows of several ranks do not mix
            finally:
                os.close(descriptor)
        except OSError as fault:
            raise StampError(f"{self.path}: {fault.strerror}") from None


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
