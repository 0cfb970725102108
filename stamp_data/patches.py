"""Patches of built sets (docs/annotate.md): read for a build, and what names the things that they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from blake3 import blake3

from stamp_data.files import UNDECODABLE, read_plain
from stamp_data.shards.rejects import storable
from stamp_schemas import RLE, Input, StampError
from stamp_schemas.errors import first_line
from stamp_schemas.patch import RecordPatch

MISFIT = "patch-misfit"  # reason of rows about what does not fit
DIGITS = 32  # of a digest
LIMIT = 1 << 30  # bytes of a file


class FiledPatch(msgspec.Struct):
    """What a file says of one record. file: its name."""

    file: str
    patch: RecordPatch


@dataclass
class SetPatch:
    """What one file says of one set, by the keys of its records. origin: the file, as a manifest names it. left_out: records
    that are not to be built, and why.
    """

    origin: Input
    records: dict[str, list[FiledPatch]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def read_patches(paths: Sequence[Path]) -> dict[str, list[SetPatch]]:
    """By the name of a set, what the files say of it, in their order. StampError if one is no patch, or cannot be read."""
    found: dict[str, list[SetPatch]] = {}
    for path in paths:
        for name, one in _read(path).items():
            found.setdefault(name, []).append(one)
    return found


def mask_digest(mask: RLE) -> str:
    """What names a mask of the stored picture: BLAKE3 of `HEIGHT WIDTH COUNTS`, 32 hex digits."""
    return _digest(f"{mask.size[0]} {mask.size[1]} {mask.counts}")


def phrase_digest(text: str, masks: Sequence[str]) -> str:
    """What names a phrase with what it names. masks: digests of these, in the order of its answer."""
    return _digest("\n".join([*masks, text]))


def _digest(text: str) -> str:
    return blake3(text.encode()).hexdigest()[:DIGITS]


def _read(path: Path) -> dict[str, SetPatch]:
    try:
        data = read_plain(path, LIMIT)
    except OSError as fault:
        raise StampError(f"{path}: {fault.strerror}", "`stamp-data annotate patch` writes patches") from None
    name = storable(path.name)
    origin = Input(name, len(data), blake3(data).hexdigest())
    found: dict[str, SetPatch] = {}
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            patch = msgspec.json.decode(line, type=RecordPatch)
        except UNDECODABLE as fault:
            why = f"{path}: line {number} is no change of a record: {first_line(fault)}"
            raise StampError(why, "docs/annotate.md has the format, `stamp.patch/1`") from None
        of_set = found.setdefault(patch.set, SetPatch(origin))
        of_set.records.setdefault(patch.record, []).append(FiledPatch(name, patch))
    if not found:
        raise StampError(f"{path}: holds no change of any record", "is it the right file?")
    return found
