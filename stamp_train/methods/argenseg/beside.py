"""Codes of masks beside a set: a folder `codes-<codec>` in the set's own, in it a file for each shard. No torch here.

A file holds `codes` int16 [targets, N] and `masks` uint8 [targets, 16], BLAKE3 of each mask, for all targets of the shard's
records in their order; its metadata say of which codec and which shard they are, which record has how many targets, and what
all of it hashes to. A mask's codes depend on the mask alone, and so are found by it, whatever its set and its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from stamp_data.shards.set_index import SetIndex
from stamp_data.shards.stores import is_url
from stamp_data.writing import write_atomic
from stamp_schemas import RLE, Record, StampError, UsageFault
from stamp_schemas.manifest import ShardEntry

Codes = NDArray[np.int16]
_DIGEST = 16  # bytes of a mask's digest
_TOLD = "stamp"  # name of the metadata


def folder_of(one: SetIndex, digest: str) -> Path:
    """Where the codes of a set lie; UsageFault for a set behind a URL."""
    place = str(one.store)
    if is_url(place):
        raise UsageFault(
            f"{place}: codes lie beside a set, and nothing can be written behind a URL",
            "copy the set into a folder, or use method.codec=residual, which keeps no codes",
        )
    return Path(place.removeprefix("file://"), f"codes-{digest[:12]}")


def mask_digest(mask: RLE) -> bytes:
    """What names a mask."""
    return blake3(f"{mask.size[0]} {mask.size[1]} {mask.counts}".encode()).digest(_DIGEST)


@dataclass(frozen=True)
class ShardCodes:
    """Codes of a shard's targets, record by record. masks: uint8 [targets, 16]. records: (key, targets) of each record."""

    codes: Codes
    masks: NDArray[np.uint8]
    records: list[tuple[str, int]]

    def digest(self) -> str:
        """Of all of it."""
        found = blake3(msgspec.json.encode(self.records))
        found.update(np.ascontiguousarray(self.masks).tobytes())
        found.update(np.ascontiguousarray(self.codes).tobytes())
        return found.hexdigest()


class _Told(msgspec.Struct):
    """What a file says of itself."""

    codec: str
    shard: str
    digest: str
    records: list[tuple[str, int]]


def write_shard(folder: Path, shard: ShardEntry, digest: str, found: ShardCodes) -> None:
    """Write a shard's codes, whole or not at all."""
    told = _Told(digest, shard.digest, found.digest(), found.records)
    tensors: dict[str, NDArray[Any]] = {"codes": found.codes, "masks": found.masks}
    write_atomic(_path(folder, shard), save(tensors, {_TOLD: msgspec.json.encode(told).decode()}))


def read_shard(folder: Path, shard: ShardEntry, digest: str, cells: int) -> ShardCodes | None:
    """A shard's codes by that codec, checked; None where there are none.

    StampError: they are damaged, or of another codec, or of a shard that has been built anew since.
    """
    path = _path(folder, shard)
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            told = msgspec.json.decode((file.metadata() or {})[_TOLD], type=_Told)
        tensors = load(path.read_bytes())
        found = ShardCodes(tensors["codes"], tensors["masks"], told.records)
        whole = found.digest() == told.digest
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError) as fault:
        raise StampError(f"{path}: no codes that can be read: {fault}", _anew(path)) from None
    if (told.codec, told.shard) != (digest, shard.digest):
        raise StampError(f"{path}: codes of another codec, or of a shard that is no longer this one", _anew(path))
    kinds = found.codes.dtype == np.int16 and found.masks.dtype == np.uint8
    fits = (found.codes.shape, found.masks.shape) == ((shard.targets, cells), (shard.targets, _DIGEST))
    if not (whole and kinds and fits) or (found.codes < 0).any():
        raise StampError(f"{path}: damaged codes", _anew(path))
    return found


class CodeStore:
    """Codes of the masks of the sets that were opened; safe to read from threads."""

    def __init__(self) -> None:
        self._codes: dict[bytes, Codes] = {}
        self._opened: set[str] = set()

    def open(self, sets: Sequence[SetIndex], digest: str, cells: int) -> None:
        """Read the codes of sets, all of them. StampError: a set has none of that codec, or not for every shard."""
        for one in sets:
            if str(one.store) not in self._opened:
                self._open(one, digest, cells)
                self._opened.add(str(one.store))

    def _open(self, one: SetIndex, digest: str, cells: int) -> None:
        shards = [shard for shard in one.shards if shard.targets]
        if not shards:
            return
        folder = folder_of(one, digest)
        hint = f"stamp-train codes CODEC {one.store}, with the codec's file"
        if not folder.is_dir():
            others = sorted(path.name for path in folder.parent.glob("codes-*"))
            more = f"; there are {', '.join(others)}, of other codecs" if others else ""
            raise StampError(f"{one.store}: no codes of codec {digest[:12]}{more}", hint)
        for shard in shards:
            found = read_shard(folder, shard, digest, cells)
            if found is None:
                raise StampError(f"{folder}: no codes of shard {shard.path}", hint)
            self._codes.update(zip(map(bytes, found.masks), found.codes, strict=True))

    def find(self, record: Record, target: int) -> Codes:
        """The codes of a target, int16 [N]; StampError if none of the sets has it."""
        try:
            return self._codes[mask_digest(record.targets[target].rle)]
        except KeyError:
            raise StampError(
                f"{record.key}: no codes of target {target}", "stamp-train codes CODEC SETS makes codes of their masks"
            ) from None


def _path(folder: Path, shard: ShardEntry) -> Path:
    return folder / f"{Path(shard.path).stem}.safetensors"


def _anew(path: Path) -> str:
    return f"remove {path} and run `stamp-train codes` again"
