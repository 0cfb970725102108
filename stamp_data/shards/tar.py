"""USTAR headers and blocks: the little of tar that a shard needs, written so that equal members give equal bytes."""

from __future__ import annotations

import tarfile
from functools import lru_cache

BLOCK = 512
RECORD = 20 * BLOCK  # tar files end on a multiple of this
_SIZE_AT, _SUM_AT = slice(124, 136), slice(148, 156)


def header(name: str, size: int) -> bytes:
    """512-byte USTAR header of a regular file: mode 0644, owner 0, time 0. name: at most 100 ASCII characters.

    The name decides all but two fields, and those two are patched in: tarfile spends most of a small member's time here.
    """
    block = bytearray(_template(name))
    block[_SIZE_AT] = b"%011o\0" % size
    block[_SUM_AT] = b" " * 8
    block[_SUM_AT] = b"%06o\0 " % sum(block)
    return bytes(block)


@lru_cache(maxsize=1)
def _blank() -> bytes:
    info = tarfile.TarInfo("")
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _template(name: str) -> bytes:
    encoded = name.encode("ascii")
    if not 0 < len(encoded) <= tarfile.LENGTH_NAME:
        raise ValueError(f"member name of {len(encoded)} characters: {name!r}")
    return encoded + _blank()[len(encoded) :]


def padding(size: int) -> bytes:
    """Zero bytes that fill a member of `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


def end(size: int) -> bytes:
    """The two empty blocks after the last member, and zeros up to a whole tar record; `size`: bytes before them."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)
