"""Making a damaged set whole again from the raw data, by building only what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import BinaryIO

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.build.plan import plan_tasks
from stamp_data.build.receipt import ANY, Receipt
from stamp_data.build.seal import Config, mended
from stamp_data.build.split import Built, Progress, build_split, describe_inputs
from stamp_data.build.tokens import TokenCounter, tokenizer_digest
from stamp_data.executors import Executor
from stamp_data.files import open_plain
from stamp_data.grid import foreground
from stamp_data.patches import SetPatch
from stamp_data.shards.index import IndexRow
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.manifest import MANIFEST, REJECTS, read_manifest
from stamp_data.shards.rejects import RejectLog, read_rejects
from stamp_data.shards.row import described, placed
from stamp_data.sources.base import Source
from stamp_data.verify.fault import Fault
from stamp_data.verify.sets import check_index, verify_set
from stamp_data.verify.shard import Member, groups, walk
from stamp_schemas import Manifest, Record, Reject, StampError, UsageFault


class Repaired(msgspec.Struct):
    """What a repair found, did and left. built: None if nothing was wrong. identical: the set has its old digests again."""

    faults: list[Fault]
    built: Built | None
    left: list[Fault]
    identical: bool


def repair(
    folder: Path,
    source: Source,
    executor: Executor,
    *,
    tokenizer: Path | None = None,
    patches: Sequence[SetPatch] = (),
    faults: list[Fault] | None = None,
    workers: int = 1,
    progress: Progress = lambda *_: None,
) -> Repaired:
    """Verify a set and build its damaged shards anew, with the settings in its manifest; the others are kept.

    So are shards that refused pictures which have come or were changed since.

    source: loaded, of the dataset and files that the set was built from. patches: that were applied then.
    faults: what verification found, if that was done
    already. Lost index, wids.json or manifest totals are made anew too; rejects.jsonl cannot be known without rendering,
    so that its loss means building every shard. A repair that is stopped leaves an unfinished build, which the build
    command finishes. StampError if the manifest is unreadable, its settings are not those of its shards, or the raw files
    have changed, UsageFault if `source`, `tokenizer` or `patches` are not those of the set.
    """
    folder = folder.resolve()
    if faults is None:
        faults = verify_set(folder, workers=workers, progress=progress)
    stale = {row.shard for row in mended(folder, source.finder)}
    if not faults and not stale:
        return Repaired([], None, [], identical=True)
    manifest = read_manifest(folder, checked=False)
    _check_origin(folder, manifest, source, tokenizer)
    _check_patches(folder, manifest, patches)
    damaged = {fault.shard for fault in faults} | stale
    if MANIFEST in damaged or manifest.checksum is msgspec.UNSET:
        _check_settings(folder, manifest, source, patches)
    kept = _receipts(folder, manifest, damaged, TokenCounter(tokenizer) if tokenizer else None)
    built = build_split(
        source,
        manifest.settings,
        folder.parent.parent,
        executor,
        inputs=manifest.inputs,
        patches=patches,
        tokenizer=tokenizer,
        kept=kept,
        progress=progress,
    )
    left = verify_set(folder, workers=workers, progress=progress)
    return Repaired(faults, built, left, identical=_same(built.manifest, manifest))


def _same(made: Manifest, before: Manifest) -> bool:
    """Whether a set is again what it was: by the checksum of its manifest, damaged or not, if that has one."""
    if before.checksum is msgspec.UNSET:
        return msgspec.structs.replace(made, checksum=msgspec.UNSET) == before
    return made == before or made.checksum == before.checksum


def _check_origin(folder: Path, manifest: Manifest, source: Source, tokenizer: Path | None) -> None:
    settings = manifest.settings
    if (source.dataset, source.split_by) != (settings.dataset, settings.split_by):
        raise UsageFault(f"{folder}: was built from {settings.dataset}, not from {source.name}")
    if folder.parts[-2:] != (source.name, settings.split):
        raise UsageFault(
            f"{folder}: repair needs the folder's own name, {source.name}/{settings.split}", "rename it for the repair"
        )
    if (tokenizer_digest(tokenizer) if tokenizer else "") != settings.tokenizer:
        raise UsageFault(
            f"{folder}: was built {'with another' if settings.tokenizer else 'without a'} tokenizer",
            "give the same --tokenizer as to the build" if settings.tokenizer else "leave --tokenizer out",
        )
    there = {item.path: item.digest for item in describe_inputs(source)}
    changed = [item.path for item in manifest.inputs if there.get(item.path) != item.digest]
    if changed or len(there) != len(manifest.inputs):
        raise StampError(
            f"{source.root}: {', '.join(changed) or 'the annotation files'} changed since the set was built",
            "give the --root that it was built from, or build it anew",
        )


def _check_patches(folder: Path, manifest: Manifest, patches: Sequence[SetPatch]) -> None:
    there = Config.of(manifest).patches
    if there != [one.origin for one in patches]:
        names = " ".join(f"--patch {quote(one.path)}" for one in there)
        hint = f"give {names} as to the build" if names else "leave --patch out"
        raise UsageFault(f"{folder}: was built with {'other patches' if there else 'no patch'}", hint)


def _check_settings(folder: Path, manifest: Manifest, source: Source, patches: Sequence[SetPatch]) -> None:
    """StampError unless a task's digest, which holds the settings, shows that shards were made with the manifest's."""
    tasks = {entry.path: entry.task for entry in manifest.shards}
    with TemporaryDirectory(prefix=".", dir=folder) as scratch:
        heads = plan_tasks(source, manifest.settings, RejectLog(), Path(scratch), patches)
    if not any(tasks.get(head.shard) == head.digest for head in heads):
        raise StampError(
            f"{folder / MANIFEST}: its settings are not those that its shards were made with",
            "`stamp-data build` with --overwrite and the right settings keeps the shards that come out the same",
        )


def _receipts(folder: Path, manifest: Manifest, damaged: set[str], tokens: TokenCounter | None) -> list[Receipt]:
    """A receipt for every shard that can be kept: rows from the index or, if that is damaged, from the shard itself."""
    if REJECTS in damaged:
        return []
    index, _ = check_index(folder, manifest)
    rejects: dict[str, list[Reject]] = {}
    for reject in read_rejects(folder / REJECTS):
        rejects.setdefault(reject.shard, []).append(reject)
    receipts = []
    for entry in manifest.shards:
        if entry.path not in damaged:
            rows = index.rows(entry.path) if index is not None and index.trusted else None
            rows = derive_rows(folder / entry.path, tokens) if rows is None else rows
            receipts.append(Receipt(entry, rows, rejects.get(entry.path, []), ANY))
    return [receipt for receipt in receipts if receipt.adds_up]


def derive_rows(shard: Path, tokens: TokenCounter | None) -> list[IndexRow]:
    """The index rows of a good shard, from nothing but the shard. tokens: as the build had it."""
    with open_plain(shard) as file:
        members, _ = walk(file, shard.stat().st_size)
        return [_derive_row(file, shard.name, row, group, tokens) for row, (_, group) in enumerate(groups(members))]


def _derive_row(file: BinaryIO, shard: str, row: int, group: list[Member], tokens: TokenCounter | None) -> IndexRow:
    data = {member.kind: member.read(file) for member in group}
    record = msgspec.json.decode(data["json"], type=Record)
    columns: dict[str, object] = {"shard": shard, "row": row, "key": record.key}
    columns |= placed({one.kind: (one.offset, one.size, xxh3_64_intdigest(data[one.kind])) for one in group})
    columns |= described(record, next((one.name.partition(".")[2] for one in group if one.kind == "image"), ""))
    labels = None
    if "labels" in data and record.grid:
        labels = parse_labels(data["labels"], (len(record.targets), record.grid.height, record.grid.width), record.key)
    columns["foreground"] = foreground(labels)
    columns["text_tokens"] = [tokens.count(dialogue) for dialogue in record.dialogues] if tokens else None
    return msgspec.convert(columns, IndexRow)
