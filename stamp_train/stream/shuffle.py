"""Permutations as a pure function of a key: no generator state, the same on every machine and with every numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)


def key_of(*parts: str | int) -> int:
    """A 64-bit key from what names a shuffle, such as seed, set, epoch."""
    return xxh3_64_intdigest("/".join(map(str, parts)).encode())


def permutation(count: int, key: int) -> NDArray[np.int64]:
    """The numbers 0 … count - 1 in the order that `key` gives them.

    They are sorted by SplitMix64 of their place. That function maps 64 bits to 64 bits one to one, so no two places tie,
    and the order depends on no sorting algorithm.
    """
    word = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN + np.uint64(key)
    for shift, factor in _MIX:
        word = (word ^ (word >> shift)) * factor
    return np.argsort(word ^ (word >> _LAST))
