"""Readers of pictures: what is called whole has a size, and whoever decodes it gets pixels or a fault."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from stamp_data.picture import PictureFault, check_picture
from stamp_data.pixels import decode_picture
from stamp_schemas import StampError

from .harness import PART, WHOLE, Reader
from .mutations import BYTES

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def writer(form: str, size: tuple[int, int]) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {} if form in ("GIF", "BMP") else {"exif": exif}
        path = root / "picture"
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, form, **options)
        path.write_bytes(buffer.getvalue())
        return path

    return write


def read(path: Path) -> str:
    data = path.read_bytes()
    try:
        picture = check_picture(data, "picture")
    except PictureFault as fault:
        raise StampError(str(fault)) from None
    assert min(picture.width, picture.height) > 0
    try:
        decoded = decode_picture(data, "picture", upright=True, side=32)
    except PictureFault:
        return PART  # closed by its end marker, and broken before it
    assert decoded.mode == "RGB"
    return WHOLE


READERS = [Reader(f"picture, {form}", writer(form, (20, 12)), read, BYTES, 400) for form in FORMATS]
READERS.append(Reader("picture, JPEG of a few pixels", writer("JPEG", (40, 5)), read, BYTES, 200))
