"""Label Studio's brush: runs of a picture's RGBA values in a stream of bits, as thi.ng's rle-pack writes it.

Layout, most significant bits first: 32 bits number of values; 5 bits word size less one; four times 4 bits, sizes of a run's
length less one. Then runs: 1 bit whether one word is repeated; 2 bits which of the four sizes; the run's length less one;
the word, or as many words as the run is long. What is painted is where alpha, every fourth value, is not 0.

A mask of ours is black and opaque where it is painted, and nothing elsewhere: all four values of a pixel are 255, or 0. So
every run is of one word, four values to a pixel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stamp_data import rle as rles
from stamp_data.sources.faults import RecordFault
from stamp_schemas import RLE

CHANNELS = 4
LONGEST_READ = 8  # bytes: the most that a field of 32 bits touches, and more
WORD = 8  # bits of a value, as we write it
SIZES = (3, 4, 8, 16)  # bits that a run's length may take, as Label Studio's own files have them
LONGEST = 1 << SIZES[-1]  # values of one run


def decoded(rle: list[int], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The painted pixels, bool [height, width]; RecordFault `bad-shape` if the stream is none of that picture."""
    try:
        data = bytes(rle) + bytes(LONGEST_READ)
    except ValueError:
        raise RecordFault("bad-shape", "the brush's rle holds a number that is no byte") from None
    end = 8 * len(rle)
    place = 0

    def read(bits: int) -> int:
        nonlocal place
        if place + bits > end:
            raise RecordFault("bad-shape", f"the brush's rle ends early, after {len(rle):,} bytes")
        word = int.from_bytes(data[place >> 3 : (place >> 3) + LONGEST_READ], "big")
        value = word >> (8 * LONGEST_READ - (place & 7) - bits) & ((1 << bits) - 1)
        place += bits
        return value

    count = read(32)
    if count != CHANNELS * height * width:
        detail = (
            f"the brush's rle has {count:,} values, a picture of {width}×{height} pixels {CHANNELS * height * width:,}"
        )
        raise RecordFault("bad-shape", detail)
    word_size = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    painted = np.zeros(count, np.bool_)
    at = 0
    while at < count:
        repeated = read(1)
        stop = at + 1 + read(sizes[read(2)])
        if stop > count:
            raise RecordFault("bad-shape", "the brush's rle has a run that is longer than the picture")
        if repeated:
            painted[at:stop] = read(word_size) != 0
        else:
            for one in range(at, stop):
                painted[one] = read(word_size) != 0
        at = stop
    return painted.reshape(height, width, CHANNELS)[:, :, CHANNELS - 1]


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
    return f"1{which:02b}{length - 1:0{SIZES[which]}b}{word}"
