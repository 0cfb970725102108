"""A whole set: its manifest, its other files, then every shard on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from stamp_data.build.split import Progress
from stamp_data.executors.local import LocalExecutor
from stamp_data.files import INDEX_LIMIT, TEXT_LIMIT, file_digest, read_plain
from stamp_data.shards.index import DAMAGE, IndexRow, read_table, typed
from stamp_data.shards.manifest import (
    CHANGED,
    INDEX,
    MANIFEST,
    REJECTS,
    SHARD_NAME,
    WIDS,
    is_whole,
    manifest_bytes,
    parse_manifest,
    read_manifest,
    set_digest,
    totals_of,
    wids_bytes,
)
from stamp_data.shards.rejects import read_rejects
from stamp_data.shards.row import KEY
from stamp_data.shards.stores import Location, Store, open_store
from stamp_data.verify.fault import Fault, FaultList, reason
from stamp_data.verify.shard import ShardJob, check_shard
from stamp_schemas import Manifest, StampError
from stamp_schemas.errors import first_line


def verify_set(
    place: Location, *, workers: int = 1, labels: bool = True, progress: Progress = lambda *_: None
) -> list[Fault]:
    """Everything that is wrong with one built split, always in the same order: [] if nothing is.

    workers: processes, each at one shard at a time. labels: make every label anew from its mask, which takes most of the
    time; without it shapes and hashes of the labels are still checked. StampError only if `place` is none or a
    worker dies; whatever lies in the folder becomes a fault. Of a web server, which cannot be listed, files that the manifest
    does not know are not found.
    """
    store = open_store(place)
    on_disk = [name for name in store.names() or () if name.endswith(".tar")]
    with store.at_hand([MANIFEST, INDEX, WIDS, REJECTS]) as folder:
        manifest, faults = check_manifest(folder)
        names = [entry.path for entry in manifest.shards] if manifest else []
        extra = [name for name in on_disk if manifest and name not in names]
        faults += [Fault(name, "file-extra", "not in the manifest") for name in extra]
        index, found = check_index(folder, manifest)
        faults += found + _check_lists(folder, manifest)
    names = [name for name in dict.fromkeys(names) if SHARD_NAME.fullmatch(name)] if manifest else on_disk
    progress(0, len(names), "verifying")
    in_shards: list[Fault] = []
    executor = LocalExecutor(min(workers, len(names)))
    try:
        for done, found in enumerate(executor.each(check_shard, _jobs(store, names, manifest, index, labels)), start=1):
            in_shards += found
            progress(done, len(names), "verifying")
    finally:
        executor.close()
    places = {name: place for place, name in enumerate(names)}
    return faults + sorted(in_shards, key=lambda fault: places[fault.shard])


def check_manifest(folder: Path) -> tuple[Manifest | None, list[Fault]]:
    """The manifest, None if it cannot be read, and what is wrong with it in itself."""
    faults = FaultList(MANIFEST)
    try:
        data = read_plain(folder / MANIFEST)
    except FileNotFoundError:
        faults.add("manifest-missing", "the set was never finished: the same build command goes on where it stopped")
        return None, faults.faults
    except (StampError, OSError) as fault:
        faults.add("file-unreadable", reason(fault))
        return None, faults.faults
    try:
        manifest = parse_manifest(data, folder, checked=False)
    except StampError as fault:
        faults.add("manifest-unreadable", fault.message)
        return None, faults.faults
    if manifest_bytes(manifest) != data:
        faults.add("manifest-unreadable", "not in its canonical form: changed by hand?")
    if not is_whole(data, manifest):
        faults.add("manifest-changed", CHANGED)
    if manifest.digest != set_digest(manifest.shards):
        faults.add("manifest-digest", "the set's digest is not that of its shards")
    if manifest.name != manifest.settings.name:
        faults.add("manifest-totals", f"name is {manifest.name!r}, the settings make it {manifest.settings.name}")
    if set(manifest.files) != {INDEX, WIDS, REJECTS}:
        faults.add("manifest-totals", f"digests of {sorted(manifest.files)}")
    paths = [entry.path for entry in manifest.shards]
    if paths != sorted(set(paths)) or not paths or not all(map(SHARD_NAME.fullmatch, paths)):
        faults.add("manifest-totals", "its shards are not shard-000000.tar and so on, each once and in order")
    totals = manifest.totals
    if totals != totals_of(manifest.shards, totals.image_tokens, totals.rejects):
        faults.add("manifest-totals", "totals are not the sums over its shards")
    return manifest, faults.faults


def unguarded(place: Location) -> bool:
    """Whether the manifest is of an earlier version, which had no checksum: a change of it may go unseen."""
    try:
        return read_manifest(place, checked=False).checksum is msgspec.UNSET
    except StampError:
        return False


@dataclass(frozen=True)
class Index:
    """An index that could be read. spans: per shard, first row and number of rows. trusted: as the manifest promises."""

    table: pa.Table
    spans: dict[str, tuple[int, int]]
    trusted: bool

    def rows(self, shard: str) -> list[IndexRow] | None:
        """The rows of one shard, None if there are none or they cannot be typed."""
        if shard not in self.spans:
            return None
        start, count = self.spans[shard]
        try:
            return typed(self.table.slice(start, count))
        except DAMAGE:
            return None


def check_index(folder: Path, manifest: Manifest | None) -> tuple[Index | None, list[Fault]]:
    """The index, None if it cannot be read, and what is wrong with it as a whole."""
    faults = FaultList(INDEX)
    trusted = _has_digest(folder / INDEX, manifest, faults)
    try:
        table = read_table(folder)
        keys = [key or "" for key in table.column("key").to_pylist()]
        index = Index(table, _spans(table, faults), trusted)
    except (StampError, MemoryError, *DAMAGE) as fault:
        if not {"file-missing", "file-unreadable"} & {known.code for known in faults.faults}:
            faults.add("index-unreadable", first_line(fault))
        return None, faults.faults
    for key, times in Counter(keys).items():
        if times > 1:
            faults.add("index-rows", f"{times} records have this key", key)
        if not KEY.fullmatch(key):
            faults.add("index-rows", "not a key: other characters than [a-z0-9_+-], or more than 80", key)
    if manifest is not None:
        _compare_sums(index, manifest, faults)
    return index, faults.faults


def _spans(table: pa.Table, faults: FaultList) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    runs = pc.run_end_encode(table.column("shard").combine_chunks()) if table.num_rows else None
    ends = [0, *runs.run_ends.to_pylist()] if runs is not None else [0]
    names = runs.values.to_pylist() if runs is not None else []
    for name, start, end in zip(names, ends, ends[1:], strict=False):
        if name in spans:
            faults.add("index-rows", f"rows of {name} are not together")
        spans.setdefault(name, (start, end - start))
    return spans


def _compare_sums(index: Index, manifest: Manifest, faults: FaultList) -> None:
    for name in index.spans.keys() - {entry.path for entry in manifest.shards}:
        faults.add("index-rows", f"has rows of {name}, which the manifest does not know")
    for entry in manifest.shards:
        start, count = index.spans.get(entry.path, (0, 0))
        rows = index.table.slice(start, count)
        sums = (count, pc.sum(rows.column("dialogues")).as_py() or 0, pc.sum(rows.column("targets")).as_py() or 0)
        if sums != (entry.records, entry.dialogues, entry.targets):
            said = f"{entry.records} records, {entry.dialogues} dialogues, {entry.targets} targets"
            faults.add("index-rows", f"{entry.path}: {sums[0]}, {sums[1]} and {sums[2]}; the manifest says {said}")
    tokens = pc.sum(index.table.column("image_tokens")).as_py() or 0
    if tokens != manifest.totals.image_tokens:
        faults.add("index-rows", f"{tokens:,} image tokens, the manifest says {manifest.totals.image_tokens:,}")


def _check_lists(folder: Path, manifest: Manifest | None) -> list[Fault]:
    """wids.json and rejects.jsonl."""
    wids, rejects = FaultList(WIDS), FaultList(REJECTS)
    _has_digest(folder / WIDS, manifest, wids)
    _has_digest(folder / REJECTS, manifest, rejects)
    if not wids.faults and manifest is not None:
        content = read_plain(folder / WIDS)
        if content != wids_bytes(manifest.name, manifest.shards):
            wids.add("file-content", "does not list the shards of the manifest")
    if not {"file-missing", "file-unreadable"} & {fault.code for fault in rejects.faults}:
        try:
            count = len(read_rejects(folder / REJECTS))
        except StampError as fault:
            rejects.add("file-content", fault.message)
        else:
            if manifest is not None and count != manifest.totals.rejects:
                rejects.add("file-content", f"{count} rows, the manifest says {manifest.totals.rejects}")
    return wids.faults + rejects.faults


def _has_digest(path: Path, manifest: Manifest | None, faults: FaultList) -> bool:
    try:
        digest = file_digest(path, INDEX_LIMIT if path.name == INDEX else TEXT_LIMIT)
    except FileNotFoundError:
        faults.add("file-missing", "no such file")
        return False
    except (StampError, OSError) as fault:
        faults.add("file-unreadable", reason(fault))
        return False
    if manifest is not None and manifest.files.get(path.name) != digest:
        faults.add("file-digest", "its BLAKE3 is not the manifest's")
        return False
    return manifest is not None


def _jobs(
    store: Store, names: list[str], manifest: Manifest | None, index: Index | None, labels: bool
) -> Iterator[tuple[ShardJob]]:
    """One at a time, since each holds the rows of its shard."""
    entries = {entry.path: entry for entry in manifest.shards} if manifest else {}
    settings = manifest.settings if manifest else None
    for name in names:
        rows = index.rows(name) if index else None
        trusted = index is not None and (index.trusted or manifest is None)
        yield (ShardJob(store.place, store.patience, name, entries.get(name), rows, trusted, settings, labels),)
