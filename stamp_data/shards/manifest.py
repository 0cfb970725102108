"""`manifest.json` and `wids.json`: what a complete set consists of."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from blake3 import blake3

from stamp_data.files import read_plain
from stamp_schemas import Manifest, ShardEntry, StampError

MANIFEST, INDEX, WIDS, REJECTS = "manifest.json", "index.parquet", "wids.json", "rejects.jsonl"
SHARD_NAME = re.compile(r"shard-[0-9]{6,}\.tar", re.ASCII)
CHANGED = "changed since it was written: its checksum is not that of its text"
_BLANK = "0" * 64  # in place of a checksum
_TAIL = b'"\n}\n'  # after it


def set_digest(shards: list[ShardEntry]) -> str:
    """BLAKE3 over the sorted shard digests (hex, one a line): the name of the data, whatever its shards are called."""
    return blake3("".join(f"{digest}\n" for digest in sorted(entry.digest for entry in shards)).encode()).hexdigest()


def manifest_bytes(manifest: Manifest) -> bytes:
    """Canonical text of a manifest: fixed field order, two-space indentation, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def with_checksum(manifest: Manifest) -> Manifest:
    """The same manifest with the checksum that belongs to it."""
    text = manifest_bytes(msgspec.structs.replace(manifest, checksum=_BLANK))
    return msgspec.structs.replace(manifest, checksum=_checksum(text))


def is_whole(data: bytes, manifest: Manifest) -> bool:
    """Whether a manifest still is the text that was written, as far as it can tell: those of earlier versions cannot."""
    return manifest.checksum is msgspec.UNSET or manifest.checksum == _checksum(data)


def _checksum(data: bytes) -> str:
    """BLAKE3 of a manifest's text without the digits of the checksum, which stand at its end."""
    digits = len(data) - len(_TAIL) - len(_BLANK)
    digest = blake3(data[:digits])
    digest.update(data[digits + len(_BLANK) :])
    return digest.hexdigest()


def wids_bytes(name: str, shards: list[ShardEntry]) -> bytes:
    """The index that webdataset's `wids` reads: shard names and how many records each holds."""
    listing = [{"url": entry.path, "nsamples": entry.records, "filesize": entry.bytes} for entry in shards]
    content = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": listing}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def read_manifest(folder: Path, *, checked: bool = True) -> Manifest:
    """The manifest of one built split; StampError if there is none, it is not one or, `checked`, was changed."""
    path = folder / MANIFEST
    try:
        data = read_plain(path)
        manifest = msgspec.json.decode(data, type=Manifest)
    except FileNotFoundError:
        raise StampError(
            f"{folder}: no {MANIFEST}", "an unfinished build? the same build command goes on where it stopped"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as fault:
        raise StampError(f"{path}: not a manifest of this version: {fault}") from None
    if checked and not is_whole(data, manifest):
        raise StampError(f"{path}: {CHANGED}", f"`stamp-data verify {folder}` says what else is damaged")
    return manifest


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
