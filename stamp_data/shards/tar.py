"""USTAR headers and blocks: the little of tar that a shard needs, written so that equal members give equal bytes."""

from __future__ import annotations

import tarfile
from functools import lru_cache

BLOCK = 512
RECORD = 20 * BLOCK  # tar files end on a multiple of this


def header(name: str, size: int) -> bytes:
    """512-byte USTAR header of a regular file: mode 0644, owner 0, time 0. name: at most 100 ASCII characters.

    All but name, size (at 124) and checksum (at 148) is constant: tarfile spends most of a small member's time here.
    """
    encoded, length = name.encode("ascii"), b"%011o\0" % size
    if not 0 < len(encoded) <= tarfile.LENGTH_NAME:
        raise ValueError(f"member name of {len(encoded)} characters: {name!r}")
    blank, total = _blank()
    checksum = b"%06o\0 " % (total + sum(encoded) + sum(length))
    return b"".join((encoded, blank[len(encoded) : 124], length, blank[136:148], checksum, blank[156:]))


@lru_cache(maxsize=1)
def _blank() -> tuple[bytes, int]:
    """Header of an empty file without a name, and the sum of its bytes, in which size and checksum count as blank."""
    info = tarfile.TarInfo("")
    info.mode = 0o644
    block = info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    return block, sum(block[:124]) + sum(block[136:148]) + sum(b" " * 8) + sum(block[156:])


def padding(size: int) -> bytes:
    """Zero bytes that fill a member of `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


def end(size: int) -> bytes:
    """The two empty blocks after the last member, and zeros up to a whole tar record; `size`: bytes before them."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % RECORD)
