"""Sets from a hub into a folder. Every file is held against its digest before it takes its place; manifests come last."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from stamp_data.files import TEXT_LIMIT, file_digest, read_plain
from stamp_data.hub.places import Hub, Progress, open_hub
from stamp_data.shards.manifest import MANIFEST
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.paths import image_path
from stamp_data.verify.sets import check_manifest
from stamp_data.writing import hold, write_atomic
from stamp_schemas import Manifest, StampError, UsageFault

STAGE = ".pull"  # below the folder that is pulled into: what is not yet known to be right


class Pulled(msgspec.Struct):
    """One set. files: that were fetched, of so many bytes. kept: that were there."""

    folder: str
    set: str
    digest: str
    files: int
    bytes: int
    kept: int

    def summary(self) -> str:
        return (
            f"{self.folder}: {self.set}, {self.files} files of {self.bytes:,} bytes fetched, {self.kept} there already"
        )


def pull(
    place: str, out: Path, sets: Sequence[str] = (), revision: str = "", progress: Progress = lambda *_: None
) -> Iterator[Pulled]:
    """Fetch the sets of a dataset on a hub, or those named; the same call goes on where one was stopped.

    StampError for what is not as its manifest says; nothing of that takes its place. UsageFault for a place without sets, or
    a set that it does not have.
    """
    hub = open_hub(place, revision)
    there = hub.files()
    ends = (name.rpartition("/") for name in there)
    found = sorted(folder for folder, _, name in ends if name == MANIFEST)
    if not found:
        raise UsageFault(
            f"{hub}: holds no built set", "is it one that `stamp-data hub push` made? its push may not be done"
        )
    if unknown := [name for name in sets if name not in found]:
        raise UsageFault(f"{hub}: has no set {unknown[0]!r}", f"it has {', '.join(found)}")
    out.mkdir(parents=True, exist_ok=True)
    with hold(out, "pull"):
        for folder in found:
            if not sets or folder in sets:
                yield _pull_set(hub, folder, there, out, progress)
        shutil.rmtree(out / STAGE, ignore_errors=True)


def _pull_set(hub: Hub, folder: str, there: dict[str, int], out: Path, progress: Progress) -> Pulled:
    inner = f"{folder}/" if folder else ""
    where = f"{hub}/{folder}"
    if there[f"{inner}{MANIFEST}"] > TEXT_LIMIT:
        raise StampError(f"{where}/{MANIFEST}: {there[f'{inner}{MANIFEST}']:,} bytes", "is it the right file?")
    got = hub.fetch(f"{inner}{MANIFEST}", out / STAGE)
    manifest, faults = check_manifest(got.parent)
    if manifest is None or faults:
        raise StampError(f"{where}/{faults[0]}", "pull again; if it stays, it has to be pushed anew")
    data = read_plain(got)
    target = out / _safe_name(manifest, where)
    digests = {entry.path: entry.digest for entry in manifest.shards} | manifest.files
    _check_free(target, data)
    _check_there(manifest, digests, {name.removeprefix(inner): size for name, size in there.items()}, where)
    pulled = Pulled(str(target), manifest.name, manifest.digest, 0, 0, 0)
    for done, (name, digest) in enumerate(digests.items()):
        progress(done, len(digests), f"{manifest.name}: fetching")
        path = target / name
        if path.exists():
            if file_digest(path) != digest:
                raise StampError(
                    f"{path}: is there, and none of the set's files", "take it away, or give another --out"
                )
            pulled.kept += 1
            continue
        _fetch(hub, f"{inner}{name}", digest, path, out / STAGE)
        pulled.files += 1
        pulled.bytes += path.stat().st_size
    write_atomic(target / MANIFEST, data)
    return pulled


def _fetch(hub: Hub, name: str, digest: str, path: Path, stage: Path) -> None:
    """Fetch one file, and put it at its place if it is the right one."""
    got = hub.fetch(name, stage)
    if file_digest(got) != digest:
        got.unlink()
        raise StampError(
            f"{hub}/{name}: its BLAKE3 is not the manifest's", "pull again; if it stays, it has to be pushed anew"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    got.replace(path)


def _safe_name(manifest: Manifest, where: str) -> str:
    """Where a set goes, relative to the folder of all: as it is called, and nowhere else."""
    try:
        return image_path("", manifest.name)
    except RecordFault as fault:
        raise StampError(f"{where}/{MANIFEST}: no set of that name is pulled: {fault.detail}", "who made it?") from None


def _check_there(manifest: Manifest, names: Iterable[str], there: Mapping[str, int], where: str) -> None:
    """StampError for a set of which a file is missing, or a shard of another size. there: bytes of files by their names."""
    if lacking := [name for name in names if name not in there]:
        raise StampError(f"{where}: lacks {lacking[0]}", "its push is not done: the same push goes on")
    for entry in manifest.shards:
        if (found := there[entry.path]) != entry.bytes:
            detail = f"{found:,} bytes, the manifest says {entry.bytes:,}"
            raise StampError(f"{where}/{entry.path}: {detail}", "it has to be pushed anew")


def _check_free(target: Path, data: bytes) -> None:
    """StampError if another set stands there."""
    path = target / MANIFEST
    if path.exists() and read_plain(path) != data:
        raise StampError(f"{target}: holds another set", "give another --out, or remove it")
