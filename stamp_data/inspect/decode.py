"""Decoding members for the eye: pictures at the size they are shown at, masks that may be broken."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.picture import PictureFault, check_picture
from stamp_data.pixels import decode_picture
from stamp_data.rle import UInt8
from stamp_schemas import RLE, StampError


def open_picture(data: bytes, name: str, side: int) -> Image.Image:
    """The picture in RGB, its pixels as stored, at most `side` pixels wide and high.

    name: for messages. StampError if it is no picture, too big, or cannot be decoded to the last line.
    """
    try:
        check_picture(data, name)
        picture = decode_picture(data, name, side=side)
    except PictureFault as fault:
        raise StampError(str(fault)) from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture


def as_png(data: bytes, name: str) -> bytes:
    """The whole picture as a PNG, its pixels as stored. StampError as `open_picture`."""
    buffer = io.BytesIO()
    try:
        decode_picture(data, name).save(buffer, "PNG")
    except PictureFault as fault:
        raise StampError(str(fault)) from None
    return buffer.getvalue()


def safe_mask(rle: RLE, height: int, width: int) -> UInt8:
    """Decoded mask, uint8 [height, width], of an RLE that need not be good; all 0 if it is not (STP-E001 names it)."""
    try:
        lengths = rles.checked_runs(height, width, rle.size, rle.counts)
    except (ValueError, OverflowError):
        return np.zeros((height, width), np.uint8)
    return np.repeat((np.arange(len(lengths)) & 1).astype(np.uint8), lengths).reshape(width, height).T
