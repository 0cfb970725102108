"""`manifest.json` and `wids.json`: what a complete set consists of."""

from __future__ import annotations

import re

import msgspec
from blake3 import blake3

from stamp_data.files import UNDECODABLE
from stamp_data.shards.stores import Location, Missing, Store, open_store
from stamp_data.writing import json_text
from stamp_schemas import Manifest, ShardEntry, StampError, Totals, UsageFault
from stamp_schemas.manifest import MANIFEST_SCHEMA

_DIGEST = re.compile(r"[0-9a-f]{1,64}")
MANIFEST, INDEX, WIDS, REJECTS = "manifest.json", "index.parquet", "wids.json", "rejects.jsonl"
SHARD_NAME = re.compile(r"shard-[0-9]{6,}\.tar", re.ASCII)
CHANGED = "changed since it was written: its checksum is not that of its text"
_BLANK = "0" * 64  # in place of a checksum
_TAIL = b'"\n}\n'  # after it


def set_digest(shards: list[ShardEntry]) -> str:
    """BLAKE3 over the sorted shard digests (hex, one a line): the name of the data, whatever its shards are called."""
    return blake3("".join(f"{digest}\n" for digest in sorted(entry.digest for entry in shards)).encode()).hexdigest()


def totals_of(shards: list[ShardEntry], image_tokens: int, rejects: int) -> Totals:
    """The totals of a set, of which its shards do not tell the last two."""
    summed = ("records", "dialogues", "targets", "bytes")
    sums = {what: sum(getattr(entry, what) for entry in shards) for what in summed}
    return Totals(**sums, image_tokens=image_tokens, rejects=rejects)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Canonical text of a manifest: fixed field order, two-space indentation, a newline at the end."""
    return json_text(manifest)


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
    return json_text(content)


class NoManifest(StampError):
    """There is no finished set at a place."""


def read_manifest(place: Location, *, checked: bool = True) -> Manifest:
    """The manifest of one built split; StampError if there is none, it is not one or, `checked`, was changed."""
    store = open_store(place)
    try:
        data = store.get(MANIFEST)
    except Missing:
        raise NoManifest(
            f"{store}: no {MANIFEST}", "an unfinished build? the same build command goes on where it stopped"
        ) from None
    return parse_manifest(data, store, checked)


def parse_manifest(data: bytes, place: Location, checked: bool) -> Manifest:
    """A manifest from its text; see `read_manifest`. place: for messages."""
    where = f"{place}/{MANIFEST}"
    try:
        schema = msgspec.json.decode(data, type=dict[str, object]).get("schema")
        if schema != MANIFEST_SCHEMA:
            raise StampError(
                f"{where}: is of schema {schema!r}, this version reads {MANIFEST_SCHEMA!r}",
                "build the set anew, or install the version that wrote it",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except UNDECODABLE as fault:
        raise StampError(f"{where}: not a manifest of this version: {fault}") from None
    if checked:
        if not is_whole(data, manifest):
            raise StampError(f"{where}: {CHANGED}", f"`stamp-data verify {place}` says what else is damaged")
        for entry in manifest.shards:  # their names may lead anywhere
            if not SHARD_NAME.fullmatch(entry.path) or not _DIGEST.fullmatch(entry.digest):
                raise StampError(f"{where}: {entry.path[:100]!r} is not the name of a shard, or its digest is none")
    return manifest


def shards_of(store: Store, manifest: Manifest) -> Store:
    """Where the shards of a set are read from: its own place, or the cache that the place has."""
    if store.cache is None:
        return store
    from stamp_data.shards.stores.cache import CachedStore

    return CachedStore(store, store.cache, {entry.path: entry.digest for entry in manifest.shards})


def find_sets(*places: Location, unfinished: bool = False) -> list[Store]:
    """The built splits at or below some places, each once; UsageFault for a place without any.

    unfinished: also those that hold shards but no manifest.
    """
    return list({str(one): one for place in places for one in _below(open_store(place), unfinished)}.values())


def _below(store: Store, unfinished: bool) -> list[Store]:
    """Sorted by their folders or URLs."""
    found = set(store.folders(MANIFEST))
    if unfinished:
        found |= set(store.folders("shard-*.tar"))
    if not found:
        listed = store.names() is not None
        raise UsageFault(
            f"{store}: no {MANIFEST} here" + (" or below" if listed else ""),
            "give the folder that `stamp-data build` wrote"
            if listed
            else "a web server: give the URL of one built split",
        )
    return [open_store(place, store.patience, store.cache) for place in sorted(found)]
