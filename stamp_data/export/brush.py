"""Masks as Label Studio's brush paints them; the layout of the bits is told by their reader, `sources.formats.brush`.

A mask is black and opaque where it is painted, and nothing elsewhere: all four values of a pixel are 255, or 0. So every run
is of one word, four values to a pixel.
"""

from __future__ import annotations

import numpy as np

from stamp_data import rle as rles
from stamp_data.sources.formats.brush import CHANNELS
from stamp_schemas import RLE

WORD = 8  # bits of a value
SIZES = (3, 4, 8, 16)  # bits that a run's length may take, as Label Studio's own files have them
LONGEST = 1 << SIZES[-1]  # values of one run
REPEATED = "1"


def painted(mask: RLE) -> list[int]:
    """The bytes of a mask that fill its picture."""
    pixels = rles.decode(mask).ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=1 - pixels[:1]))
    lengths = np.diff(starts, append=pixels.size) * CHANNELS
    bits = [f"{pixels.size * CHANNELS:032b}", f"{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        word = "1" * WORD if pixels[start] else "0" * WORD
        bits += (_run(min(LONGEST, length - done), word) for done in range(0, length, LONGEST))
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _run(length: int, word: str) -> str:
    """The smallest of the sizes that holds the length less one."""
    which = next(which for which, size in enumerate(SIZES) if length <= 1 << size)
    return f"{REPEATED}{which:02b}{length - 1:0{SIZES[which]}b}{word}"
