"""Building one split: plan, render what has no receipt yet, and seal the set once all is there.

Folder while a build runs (`.build/`): `config.json`, the task files, a receipt per finished shard. It vanishes when the
set is sealed; `manifest.json` and `index.parquet` then hold all that the receipts held.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stamp_data.build.plan import SetFault, TaskHead, plan_tasks
from stamp_data.build.receipt import AGE, ANY, Receipt, Workplace, read_receipt, receipt_path
from stamp_data.build.seal import Config, mended, seal, unseal, write_packed
from stamp_data.executors import Executor
from stamp_data.files import file_digest, read_struct
from stamp_data.patches import SetPatch
from stamp_data.shards.manifest import INDEX, MANIFEST, REJECTS, read_manifest
from stamp_data.shards.rejects import RejectLog, reject_order, rejects_bytes, storable
from stamp_data.sources.base import Source
from stamp_data.writing import hold, write_atomic
from stamp_schemas import Input, Manifest, Settings, StampError
from stamp_schemas.errors import naming
from stamp_schemas.manifest import PATCH

WORK = ".build"
_FOLDER_NAME = re.compile(r"[^./\\][^/\\]{0,99}")  # split names are read from files: none may lead to another folder

Progress = Callable[[int, int, str], None]
"""Told (shards done, shards in all, what is going on) as a build moves on."""


@dataclass(frozen=True)
class Built:
    """Outcome of one split. rendered: shards made by this call; the others were there already."""

    folder: Path
    manifest: Manifest
    rendered: int

    def summary(self) -> str:
        """One line for the terminal."""
        totals = self.manifest.totals
        rejects = f", {totals.rejects:,} rejects (see {self.folder / REJECTS})" if totals.rejects else ""
        kept = len(self.manifest.shards) - self.rendered
        reuse = f", {kept} shards were there already" if kept > 0 else ""
        return (
            f"{self.folder}: {totals.records:,} records, {totals.dialogues:,} dialogues, {totals.targets:,} targets, "
            f"{totals.bytes / 2**20:,.1f} MiB{reuse}{rejects}"
        )


def build_split(
    source: Source,
    settings: Settings,
    out: Path,
    executor: Executor,
    *,
    inputs: list[Input],
    patches: Sequence[SetPatch] = (),
    tokenizer: Path | None = None,
    overwrite: bool = False,
    kept: list[Receipt] | None = None,
    progress: Progress = lambda *_: None,
) -> Built:
    """Build `out/<set>/<split>`, going on from whatever a stopped build of the same settings and inputs left there.

    source: loaded. inputs: digests of its files (`describe_inputs`). patches: of this very set, in their order. kept: of a set
    that is repaired, receipts of the shards that stay.
    A finished set is left as it is, unless pictures that it refused have come or were changed since; its other shards are then
    kept. StampError if the folder holds a set of other settings or inputs and `overwrite` is not given (which still keeps the
    shards that would come out the same), if another build is at work in it, or if a picture comes, goes or changes meanwhile.
    OSError, with the name of a file or of the folder, where the system refuses to read or write.
    """
    if not _FOLDER_NAME.fullmatch(settings.split):
        raise SetFault(f"{source.name}: a split called {settings.split!r} cannot be the name of a folder")
    folder = out / source.name / settings.split
    work = folder / WORK
    config = Config(settings, inputs, [one.origin for one in patches])
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder, "build"):
            if kept is None:
                finished = _check_folder(folder, config, overwrite)
                stale = {row.shard for row in mended(folder, source.finder)}
                if finished is not None and not stale:
                    return Built(folder, finished, 0)
                kept = [one for one in unseal(folder) if one.entry.path not in stale]
            _prepare(folder, config, kept)
            rejects = RejectLog()
            progress(0, 0, "planning")
            heads = _plan(source, settings, rejects, folder, patches)
            receipts = _valid_receipts(folder, heads)
            todo = [head for head in heads if head.shard not in receipts]
            progress(len(receipts), len(heads), "building")
            place = Workplace(source.roots, folder, work, tokenizer, source.reading.follow_links)
            for receipt in executor.run([head.path for head in todo], place):
                receipts[receipt.entry.path] = receipt
                progress(len(receipts), len(heads), "building")
            ordered = [receipts[head.shard] for head in heads]
            index = work / INDEX
            executor.call(write_packed, index, [msgspec.msgpack.encode(one.rows) for one in ordered if one.rows])
            try:
                manifest = seal(source, config, folder, index, ordered, rejects.rows)
            except SetFault:  # nothing is left to go on with
                shutil.rmtree(work)
                raise
            shutil.rmtree(work)
            return Built(folder, manifest, len(todo))


def _plan(
    source: Source, settings: Settings, rejects: RejectLog, folder: Path, patches: Sequence[SetPatch]
) -> list[TaskHead]:
    """`plan_tasks`; where nothing is usable, rejects.jsonl says why and no work folder stays behind."""
    try:
        return plan_tasks(source, settings, rejects, folder / WORK, patches)
    except SetFault as fault:
        shutil.rmtree(folder / WORK)
        if not rejects.rows:
            raise
        write_atomic(folder / REJECTS, rejects_bytes(sorted(rejects.rows, key=reject_order)))
        raise SetFault(fault.message, f"{fault.hint}; all are in {folder / REJECTS}") from None


def describe_inputs(source: Source) -> list[Input]:
    """Path (relative to the root), size and BLAKE3 of every annotation file of a source."""
    root = source.root
    found = []
    for path in source.inputs:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        if path.is_file():  # a folder or a pipe of that name: the source says so when it comes to read it
            found.append(Input(storable(name), path.stat().st_size, file_digest(path)))
    return sorted(found, key=lambda item: item.path)


def _check_folder(folder: Path, config: Config, overwrite: bool) -> Manifest | None:
    """The manifest if the folder is already what is asked for; None if there is work to do."""
    there: Config | None = None
    manifest: Manifest | None = None
    begun = folder / WORK / "config.json"
    remedy = "--overwrite builds it anew and keeps the shards that come out the same, or give another --out"
    if overwrite:
        return None
    try:
        if (folder / MANIFEST).exists():
            manifest = read_manifest(folder)
            there = Config.of(manifest)
        elif begun.exists():
            there = read_struct(begun, Config)
    except StampError as fault:
        raise StampError(fault.message, remedy) from None
    if there is None:
        return None
    if there != config:
        raise StampError(f"{folder}: was built differently: {_difference(there, config)}", remedy)
    if manifest is None:
        return None
    whole = all(_has_size(folder / entry.path, entry.bytes) for entry in manifest.shards)
    if not whole or not all((folder / name).is_file() for name in manifest.files):
        return None
    shutil.rmtree(folder / WORK, ignore_errors=True)  # left by a build that was killed just after sealing
    return manifest


def _difference(there: Config, asked: Config) -> str:
    old, new = ({"factor": PATCH, "rounds": 1, **msgspec.to_builtins(one.settings)} for one in (there, asked))
    changed = [f"{name} {old[name]!r}, now {new[name]!r}" for name in new if old[name] != new[name]]
    before = {item.path: item.digest for item in there.inputs}
    changed += [f"{item.path} has changed" for item in asked.inputs if before.get(item.path) != item.digest]
    if there.patches != asked.patches:
        with_old, with_new = (", ".join(item.path for item in one.patches) or "none" for one in (there, asked))
        changed.append(f"patched with {with_old}, now with {with_new}{' as changed since' * (with_old == with_new)}")
    return "; ".join(changed) or "other annotation files"


def _prepare(folder: Path, config: Config, kept: list[Receipt]) -> None:
    """Open the work folder; a set that was sealed is a build from then on that was stopped when only `kept` was done."""
    work = folder / WORK
    if (folder / MANIFEST).exists():
        shutil.rmtree(work, ignore_errors=True)  # left by a build that was killed just after sealing
    work.mkdir(exist_ok=True)
    for left in [*folder.glob("*.part"), *work.glob("*.part"), *work.glob("*.task"), *work.glob("spool")]:
        left.unlink()
    for receipt in kept:
        write_atomic(receipt_path(work, receipt.entry.path), msgspec.json.encode(receipt))
    write_atomic(
        work / "config.json", msgspec.json.encode(config)
    )  # first: a build that is killed here is known as one
    (folder / MANIFEST).unlink(missing_ok=True)


def _valid_receipts(folder: Path, heads: list[TaskHead]) -> dict[str, Receipt]:
    """Receipts, by shard name, of tasks that are done: same task digest, and a shard that has the bytes it had then."""
    valid = {}
    for head in heads:
        path = receipt_path(folder / WORK, head.shard)
        try:
            receipt = read_receipt(path)
        except (FileNotFoundError, StampError):
            continue
        shard = folder / head.shard
        whole = _has_size(shard, receipt.entry.bytes) and file_digest(shard) == receipt.entry.digest
        if receipt.entry.task == head.digest and whole and _is_current(receipt, head, shard):
            valid[head.shard] = receipt
    return valid


def _is_current(receipt: Receipt, head: TaskHead, shard: Path) -> bool:
    """Whether no picture was changed since the shard was made, as far as times tell."""
    if receipt.times == AGE:
        return head.newest <= shard.stat().st_mtime_ns
    return receipt.times in (ANY, head.times)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
