"""`manifest.json` and `wids.json`: what a complete set consists of."""

from __future__ import annotations

from pathlib import Path

import msgspec
from blake3 import blake3

from stamp_schemas import Manifest, ShardEntry, StampError

MANIFEST, INDEX, WIDS, REJECTS = "manifest.json", "index.parquet", "wids.json", "rejects.jsonl"


def set_digest(shards: list[ShardEntry]) -> str:
    """BLAKE3 over the sorted shard digests (hex, one a line): the name of the data, whatever its shards are called."""
    return blake3("".join(f"{digest}\n" for digest in sorted(entry.digest for entry in shards)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE3 of a file, hex."""
    digest = blake3()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def manifest_bytes(manifest: Manifest) -> bytes:
    """Canonical text of a manifest: fixed field order, two-space indentation, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def wids_bytes(name: str, shards: list[ShardEntry]) -> bytes:
    """The index that webdataset's `wids` reads: shard names and how many records each holds."""
    listing = [{"url": entry.path, "nsamples": entry.records, "filesize": entry.bytes} for entry in shards]
    content = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": listing}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of one built split; StampError if there is none or it is not one."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise StampError(
            f"{folder}: no {MANIFEST}", "an unfinished build? the same build command goes on where it stopped"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as fault:
        raise StampError(f"{path}: not a manifest of this version: {fault}") from None


def find_sets(path: Path, *, unfinished: bool = False) -> list[Path]:
    """The folders of built splits at or below `path`, sorted; StampError if there are none.

    unfinished: also those that hold shards but no manifest.
    """
    if not path.exists():
        raise StampError(f"{path}: no such folder")
    found = {manifest.parent for manifest in path.rglob(MANIFEST)}
    if unfinished:
        found |= {shard.parent for shard in path.rglob("shard-*.tar")}
    if not found:
        raise StampError(f"{path}: no {MANIFEST} here or below", "give the folder that `stamp-data build` wrote")
    return sorted(found)
