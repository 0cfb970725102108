"""`KEY.labels.npy`: patch labels as bytes, in the one form that a shard may hold."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np

from stamp_data.rle import UInt8
from stamp_schemas import StampError

Shape = tuple[int, int, int]


@lru_cache(maxsize=256)
def npy_header(shape: Shape) -> bytes:
    """What NumPy's format 1.0 writes before the data of a uint8 array of this shape in C order."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def labels_bytes(labels: UInt8) -> bytes:
    """The member of a record with these labels, uint8 [targets, grid height, grid width]."""
    targets, height, width = labels.shape
    return npy_header((targets, height, width)) + labels.tobytes()


def parse_labels(data: bytes, shape: Shape, name: str) -> UInt8:
    """A member as an array of the shape that the index promises, not to be written to; StampError if it is anything else.

    The header is compared, not parsed: that takes a fifth of the time, and nothing in it can surprise.
    """
    head = npy_header(shape)
    if not data.startswith(head) or len(data) != len(head) + shape[0] * shape[1] * shape[2]:
        raise StampError(f"{name}: not an array of uint8 {list(shape)}, as its record says")
    return np.frombuffer(data, np.uint8, offset=len(head)).reshape(shape)
