"""Pictures that were refused, and are not what they were then: the set that refused them can be made better."""

from __future__ import annotations

from pathlib import Path

from stamp_data.files import MISSING, Stamp, stamp
from stamp_data.finding import Finder
from stamp_data.rejects import read_rejects
from stamp_data.shards.manifest import MANIFEST, REJECTS, read_manifest
from stamp_schemas import ImageRef, Reject, StampError

_ABSENT, _OUTSIDE = "picture-missing", "path-outside-root"


def mended(folder: Path, finder: Finder) -> list[Reject]:
    """The rows of a finished set whose pictures have come, were changed, or may be had now, since the set was finished.

    Only those pictures are looked at, so that a set that is whole is known to be so in no time. [] if what the set refused
    cannot be read: `verify` tells of that.
    """
    try:
        inputs = {item.path for item in read_manifest(folder, checked=False).inputs}
        rows = [row for row in read_rejects(folder / REJECTS) if row.shard and row.file not in inputs]
    except StampError:
        return []
    finished = (folder / MANIFEST).stat().st_mtime_ns
    now = {file: _now(file, finder) for file in {row.file for row in rows}}
    links = finder.follow_links
    return [row for row in rows if _is_other(row, now[row.file], finished) or (links and row.reason == _OUTSIDE)]


def _now(file: str, finder: Finder) -> Stamp:
    found = stamp(f"{finder.roots[0]}/{file}")
    return found if found != MISSING else stamp(finder.full(finder.placed(ImageRef(file))))


def _is_other(row: Reject, now: Stamp, finished: int) -> bool:
    return now != MISSING and (row.reason == _ABSENT or now.changed > finished)
