"""Counting what goes into an export and what comes out, so that nothing gets lost without its name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from stamp_schemas import StampError

LOSSES = "losses.jsonl"
"""The file of an export that names its losses, one a line, as `rejects.jsonl` of a build; not there if there are none."""
_SUMMED_UP = ("records", "pictures", "dialogues", "targets")


class Counts(msgspec.Struct):
    """dialogues: those of the set, or, for a format without rounds, the requests that they were joined of.

    ignored: targets of which some region counts neither for nor against. answers: those in words, as explanations are.
    """

    records: int = 0
    pictures: int = 0
    dialogues: int = 0
    targets: int = 0
    ignored: int = 0
    answers: int = 0


class Loss(msgspec.Struct):
    """Something that the format cannot hold. what: a field of `Counts`; example: key of the first record concerned."""

    code: str
    what: str
    count: int
    why: str
    example: str

    def __str__(self) -> str:
        return f"{self.count:,} {self.what} ({self.code}: {self.why}; first in {self.example})"


class ExportReport(msgspec.Struct):
    """Outcome of an export. notes: what the format never holds, for every set alike."""

    format: str
    folder: Path
    sets: list[str]
    found: Counts
    written: Counts
    losses: list[Loss]
    notes: list[str]

    def summary(self) -> str:
        """One line for the terminal."""
        counts = ", ".join(f"{getattr(self.written, name):,} {name}" for name in _SUMMED_UP)
        lost = f"; not held: {'; '.join(map(str, self.losses))}" if self.losses else ""
        return f"{self.folder}: {counts} as {self.format}{lost}"

    def lines(self) -> bytes:
        """The losses as JSON lines."""
        return msgspec.json.Encoder().encode_lines(self.losses)


class Tally:
    """Both sides of the account while an export runs, by the fields of `Counts`: what was found, and what was written."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self._losses: dict[tuple[str, str], Loss] = {}

    def hold(self, **counts: int) -> None:
        """Count things out, as they are written."""
        self.written.update(counts)

    def lose(self, code: str, what: str, why: str, key: str, count: int = 1) -> None:
        """Note things that cannot be written; `Loss` explains the arguments."""
        loss = self._losses.setdefault((code, what), Loss(code, what, 0, why, key))
        loss.count += count

    @property
    def losses(self) -> list[Loss]:
        """In the order in which they were first met, those of no extent left out."""
        return [loss for loss in self._losses.values() if loss.count]

    def settle(self, allow_loss: bool) -> None:
        """StampError unless everything found was written, or its loss has a name and is allowed."""
        for name in Counts.__struct_fields__:
            named = sum(loss.count for loss in self.losses if loss.what == name)
            missing = self.found[name] - self.written[name] - named
            if missing:
                raise StampError(
                    f"{missing:,} {name} got lost in the export without a reason", "this is a bug: report it"
                )
        if self.losses and not allow_loss:
            listed = "; ".join(map(str, self.losses))
            raise StampError(f"the format cannot hold {listed}", "--allow-loss exports the rest; nothing was written")
