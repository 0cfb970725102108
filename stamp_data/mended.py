"""Pictures that were refused, and are not what they were then: the set that refused them can be made better."""

from __future__ import annotations

from pathlib import Path

from stamp_data.files import MISSING, Stamp, stamp
from stamp_data.rejects import read_rejects
from stamp_data.shards.manifest import MANIFEST, REJECTS, read_manifest
from stamp_schemas import Reject, StampError

_ABSENT = "picture-missing"


def mended(folder: Path, root: Path) -> list[Reject]:
    """The rows of a finished set whose pictures have come, or were changed, since the set was finished.

    Only those pictures are looked at, so that a set that is whole is known to be so in no time. [] if what the set refused
    cannot be read: `verify` tells of that.
    """
    try:
        inputs = {item.path for item in read_manifest(folder, checked=False).inputs}
        rows = [row for row in read_rejects(folder / REJECTS) if row.shard and row.file not in inputs]
    except StampError:
        return []
    finished = (folder / MANIFEST).stat().st_mtime_ns
    now = {file: stamp(f"{root}/{file}") for file in {row.file for row in rows}}
    return [row for row in rows if _is_other(row, now[row.file], finished)]


def _is_other(row: Reject, now: Stamp, finished: int) -> bool:
    return now != MISSING and (row.reason == _ABSENT or now.changed > finished)
