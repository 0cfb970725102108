"""Label Studio's brush: runs of a picture's RGBA values in a stream of bits, as thi.ng's rle-pack writes it.

Layout, most significant bits first: 32 bits number of values; 5 bits word size less one; four times 4 bits, sizes of a run's
length less one. Then runs: 1 bit whether one word is repeated; 2 bits which of the four sizes; the run's length less one;
the word, or as many words as the run is long. What is painted is where alpha, every fourth value, is not 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stamp_data.sources.faults import RecordFault

CHANNELS = 4
LONGEST_READ = 8  # bytes: the most that a field of 32 bits touches, and more


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
