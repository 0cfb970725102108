"""What a task is told besides its file, and what it leaves behind besides its shard."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stamp_data.files import read_struct
from stamp_data.shards.row import IndexRow
from stamp_schemas import Reject, ShardEntry

AGE, ANY = "", "any"
"""Of a receipt that does not know the times of its pictures: they have to be older than the shard, or may be of any age."""


class Receipt(msgspec.Struct):
    """Proof that a shard is done: what it is (`entry.task` names the task, `entry.digest` the bytes) and its index rows.

    times: when its pictures were last changed, as they were read (`stamp_data.build.plan.times_digest`), else AGE or ANY. Their
    sizes are in the task. A manifest cannot hold times, since equal sets would differ by them.
    """

    entry: ShardEntry
    rows: list[IndexRow]
    rejects: list[Reject]
    times: str = AGE

    @property
    def adds_up(self) -> bool:
        """Whether the entry counts what the rows hold: one from a manifest that was changed may not."""
        entry, rows = self.entry, self.rows
        sums = len(rows), sum(row.dialogues for row in rows), sum(row.targets for row in rows)
        return sums == (entry.records, entry.dialogues, entry.targets)


class Workplace(msgspec.Struct, frozen=True):
    """Where a task finds its pictures and tokenizer and leaves its shard. Paths may differ from node to node.

    roots: the folders that `ImageRef.root` counts. follow_links: pictures may lie behind links that lead out of these.
    """

    roots: tuple[Path, ...]
    out: Path
    work: Path
    tokenizer: Path | None = None
    follow_links: bool = False


def receipt_path(work: Path, shard: str) -> Path:
    return work / f"{shard}.receipt"


def read_receipt(path: Path) -> Receipt:
    """A receipt that a task has left; FileNotFoundError if it is not done, StampError if what it left is damaged."""
    return read_struct(path, Receipt, hint="run the same command again: the shard is made again")
