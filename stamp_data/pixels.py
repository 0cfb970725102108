"""The one way from a picture's bytes to its pixels: RGB of eight bits, for training, predictions, galleries and pages alike."""

from __future__ import annotations

import base64
import importlib
import io
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stamp_data.frame import STORED, UPRIGHT
from stamp_data.picture import EXIF_ORIENTATION, MAX_PIXELS, opening, orientation_of

SHOWN = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif", "bmp": "image/bmp"}
"""Media types of the formats that browsers know, by extension."""
_SAME = ("YCbCr", "Gray")  # kinds of JPEG of which both decoders make the same RGB; the rest is Pillow's


def decode_picture(data: bytes | memoryview, name: str = "", *, upright: bool = False, side: int = 0) -> Image.Image:
    """The picture in RGB, in the frame that its file stores it in, or upright as its EXIF orientation says.

    name: for messages. side: where a smaller picture is enough, its pixels; a JPEG is then decoded at the smallest of its
    own scales that is not below. PictureFault as `stamp_data.picture.opening`, and for what cannot be decoded.
    """
    if not upright and not side and (pixels := _by_simplejpeg(data)) is not None:
        return Image.fromarray(pixels)
    with opening(data, name) as image:
        if side:
            image.draft("RGB", (side, side))
        is_tiff = image.format == "TIFF"
        orientation = orientation_of(image) if is_tiff else 1
        image.load()
        if upright and not is_tiff:
            orientation = orientation_of(image)  # now, since the EXIF of a PNG may stand behind the pixels
        # Pillow turns a TIFF upright in decoding, and drops the tag
        is_upright = is_tiff and EXIF_ORIENTATION not in image.getexif()
        if orientation == 1 or is_upright == upright:
            return to_rgb(image)
        return to_rgb(image.transpose((UPRIGHT if upright else STORED)[orientation]))


def thumbnail(data: bytes, name: str, side: int) -> Image.Image:
    """The picture in RGB, in its stored frame, at most `side` pixels wide and high. PictureFault as `decode_picture`."""
    picture = decode_picture(data, name, side=side)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture


def as_png(data: bytes, name: str) -> bytes:
    """The whole picture as a PNG, its pixels as stored. PictureFault as `decode_picture`."""
    return encoded(decode_picture(data, name))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file; Pillow's own writing to a file does not say why it failed. options: Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def browser_type(data: bytes, extension: str, name: str) -> str:
    """The media type of a picture of which browsers show the pixels that are decoded here, "" for others: of a format that they
    do not know, moving, or transparent, where they leave out colours that a model sees. PictureFault as `opening`.
    """
    if extension in SHOWN and extension != "jpg":  # of an MPO the first picture is shown
        with opening(data, name) as image:
            if image.has_transparency_data or getattr(image, "is_animated", False):
                return ""
    return SHOWN.get(extension, "")


def data_uri(image: Image.Image) -> str:
    """A picture as pages hold it, a JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded(image, "JPEG", quality=80)).decode()


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture in RGB. Grey of more than eight bits is scaled to eight, where Pillow would cut off what is above 255."""
    grey: npt.NDArray[np.generic]
    if image.mode.startswith("I;16"):
        grey = np.asarray(image) >> 8
    elif image.mode in ("I", "F"):
        grey = _scaled(np.asarray(image))
    else:
        return image.convert("RGB")
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _scaled(values: npt.NDArray[np.int32] | npt.NDArray[np.float32]) -> npt.NDArray[np.generic]:
    """Values of no agreed range as 0 to 255: from the smallest usual range that holds them, else from their own."""
    finite = np.nan_to_num(values, nan=0, posinf=0, neginf=0)
    low, high = float(finite.min()), float(finite.max())
    if low < 0 or high > 0xFFFF:
        return (finite.astype(np.float64) - low) / ((high - low) or 1.0) * 255
    if high > 0xFF:
        return finite // 256
    return finite * 255 if high <= 1 and values.dtype.kind == "f" else finite


@lru_cache(maxsize=1)
def _simplejpeg() -> Any:
    """Where it is installed: it decodes JPEG in half Pillow's time and without the interpreter's lock, to the same pixels."""
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


def _by_simplejpeg(data: bytes | memoryview) -> npt.NDArray[np.uint8] | None:
    """uint8 [height, width, 3]; None for whatever it might see in another way than Pillow, which then decides."""
    decoder = _simplejpeg()
    if decoder is None or bytes(data[:2]) != b"\xff\xd8":
        return None
    try:
        height, width, colours, _ = decoder.decode_jpeg_header(data)
        if colours not in _SAME or height * width > MAX_PIXELS:
            return None
        pixels: npt.NDArray[np.uint8] = decoder.decode_jpeg(data, colorspace="RGB")
    except ValueError:  # also for mere warnings
        return None
    return pixels
