"""Shards and their receipts become a set, and a set its receipts again; and what a sealed set could have more of by now.

pyarrow is imported only where an index is written or read: a build has that done by a worker, which has loaded it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from stamp_data.build.plan import RENDERER, SetFault
from stamp_data.build.receipt import Receipt
from stamp_data.files import MISSING, Stamp, file_digest, stamp
from stamp_data.shards.manifest import (
    INDEX,
    MANIFEST,
    REJECTS,
    WIDS,
    manifest_bytes,
    read_manifest,
    set_digest,
    totals_of,
    wids_bytes,
    with_checksum,
)
from stamp_data.shards.rejects import by_reason, read_rejects, reject_order, rejects_bytes
from stamp_data.shards.row import IndexRow
from stamp_data.writing import write_atomic
from stamp_schemas import ImageRef, Input, Manifest, Reject, Settings, StampError
from stamp_schemas.manifest import MANIFEST_SCHEMA

if TYPE_CHECKING:
    from stamp_data.sources.base import Source  # with all the sources, which workers do not need
    from stamp_data.sources.finding import Finder

T = TypeVar("T")

_ABSENT, _OUTSIDE = "picture-missing", "path-outside-root"  # reasons of pictures that may yet be had
GENERATOR = {"name": "stamp-data", "renderer": str(RENDERER)}


class Config(msgspec.Struct):
    """What a folder was begun with; another build may only go on with the same."""

    settings: Settings
    inputs: list[Input]
    patches: list[Input] = []

    @classmethod
    def of(cls, manifest: Manifest) -> Config:
        """What a finished set was built with."""
        patches = [] if manifest.patches is msgspec.UNSET else manifest.patches
        return cls(manifest.settings, manifest.inputs, patches)


def write_packed(path: Path, shards: list[bytes]) -> None:
    """`write_index` of rows that another process has packed: a MessagePack list of `IndexRow` per shard."""
    from stamp_data.shards.index import write_index

    write_index(path, (msgspec.msgpack.decode(rows, type=list[IndexRow]) for rows in shards))


def seal(
    source: Source,
    config: Config,
    folder: Path,
    index: Path,
    receipts: list[Receipt],
    planned: list[Reject],
) -> Manifest:
    """Put the index in its place, write wids.json and rejects.jsonl, and at last the manifest.

    index: the finished file, of the shards that hold a record; the others are left out. planned: what was refused before
    there were shards. SetFault if no record is left; rejects.jsonl then says why.
    """
    kept = [receipt for receipt in receipts if receipt.entry.records]
    rejects = sorted(planned, key=reject_order)
    for receipt in receipts:
        rejects += receipt.rejects
    entries = [receipt.entry for receipt in kept]
    names = {entry.path for entry in entries}
    for stale in folder.glob("shard-[0-9][0-9][0-9][0-9][0-9][0-9].tar"):
        if stale.name not in names:
            stale.unlink()
    if not kept:
        first = next((row for row in rejects if row.expressions), rejects[0])
        write_atomic(folder / REJECTS, rejects_bytes(rejects))
        raise SetFault(
            f"{folder}: every record was refused: {by_reason(rejects)}; the first because: {first.detail}",
            f"{REJECTS} there has all reasons; `stamp-data doctor` says which pictures and annotations are there",
        )
    index.rename(folder / INDEX)
    write_atomic(folder / WIDS, wids_bytes(config.settings.name, entries))
    write_atomic(folder / REJECTS, rejects_bytes(rejects))
    manifest = with_checksum(
        Manifest(
            schema=MANIFEST_SCHEMA,
            name=config.settings.name,
            digest=set_digest(entries),
            settings=config.settings,
            generator=GENERATOR,
            licence=source.licence,
            homepage=source.homepage,
            inputs=config.inputs,
            shards=entries,
            totals=totals_of(entries, sum(row.image_tokens for receipt in kept for row in receipt.rows), len(rejects)),
            files={file: file_digest(folder / file) for file in (INDEX, WIDS, REJECTS)},
            patches=config.patches or msgspec.UNSET,
        )
    )
    write_atomic(folder / MANIFEST, manifest_bytes(manifest))
    return manifest


def unseal(folder: Path) -> list[Receipt]:
    """The receipts that a set was sealed from; none, so that all is made again, if what they would hold is damaged."""
    try:
        manifest = read_manifest(folder, checked=False)  # each receipt is checked against its task and its shard
        from stamp_data.shards.index import read_rows  # pyarrow, which a build from nothing does without here

        whole = all(file_digest(folder / name) == manifest.files.get(name) for name in (INDEX, REJECTS))
        rows = _group(read_rows(folder) if whole else [], lambda row: row.shard)
        rejects = _group(read_rejects(folder / REJECTS) if whole else [], lambda row: row.shard)
        found = [Receipt(one, rows[one.path], rejects.get(one.path, [])) for one in manifest.shards if one.path in rows]
        return [receipt for receipt in found if receipt.adds_up]
    except (StampError, OSError):
        return []


def _group(items: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def mended(folder: Path, finder: Finder) -> list[Reject]:
    """The rows of a finished set whose pictures have come, were changed, or may be had now, since the set was finished.

    Only those pictures are looked at, so that a set that is whole is known to be so in no time. [] if what the set refused
    cannot be read: `verify` tells of that.
    """
    try:
        config = Config.of(read_manifest(folder, checked=False))
        inputs = {item.path for item in [*config.inputs, *config.patches]}
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
