"""Pictures from their bytes, by whichever decoder is at hand, with the same pixels from each."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from stamp_data.picture import PictureFault
from stamp_data.pixels import decode_picture

_SAME = ("YCbCr", "Gray")  # kinds of JPEG of which both decoders make the same RGB; the rest is Pillow's


class UndecodableError(ValueError):
    """Bytes that are no whole picture."""


def decode(data: bytes | memoryview) -> Image.Image:
    """A picture in RGB, as stored: EXIF rotation is not applied. UndecodableError if it is broken.

    simplejpeg, where it is installed, decodes JPEG in half the time and without the interpreter's lock; its pixels are
    Pillow's. What it does not like goes to Pillow, so that the outcome does not depend on which of them is there.
    """
    pixels = _by_simplejpeg(data)
    if pixels is not None:
        return Image.fromarray(pixels)
    try:
        return decode_picture(data)
    except PictureFault as fault:
        raise UndecodableError(str(fault)) from None


@lru_cache(maxsize=1)
def _simplejpeg() -> Any:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def _by_simplejpeg(data: bytes | memoryview) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """uint8 [height, width, 3]; None if it is not installed, or the picture not of a kind that it decodes as Pillow does."""
    decoder = _simplejpeg()
    if decoder is None or bytes(data[:2]) != b"\xff\xd8":
        return None
    try:
        if decoder.decode_jpeg_header(data)[2] not in _SAME:
            return None
        pixels: np.ndarray[Any, np.dtype[np.uint8]] = decoder.decode_jpeg(data, colorspace="RGB")
    except ValueError:  # also for mere warnings
        return None
    return pixels
