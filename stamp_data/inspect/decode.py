"""Decoding members for the eye: pictures at the size they are shown at, masks that may be broken."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.picture import PictureFault, check_picture
from stamp_data.rle import UInt8
from stamp_schemas import RLE, StampError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    MemoryError,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise for files that are not what they say; ValueError covers PictureFault."""


def open_picture(data: bytes, name: str, side: int) -> Image.Image:
    """The picture in RGB, its pixels as stored, at most `side` pixels wide and high.

    name: for messages. StampError if it is no picture, too big, or cannot be decoded to the last line.
    """
    try:
        check_picture(data, name)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.draft("RGB", (side, side))  # JPEG: decoded at the smallest size that is not below
            picture = image.convert("RGB")
    except PictureFault as fault:
        raise StampError(str(fault)) from None
    except _FAULTS as fault:
        raise StampError(f"{name}: {fault}") from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture


def safe_mask(rle: RLE, height: int, width: int) -> UInt8:
    """Decoded mask, uint8 [height, width], of an RLE that need not be good; all 0 if it is not (STP-E001 names it)."""
    try:
        return rles.decode(rles.checked(height, width, rle.size, rle.counts))
    except (ValueError, OverflowError):
        return np.zeros((height, width), np.uint8)
