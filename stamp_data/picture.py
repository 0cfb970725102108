"""Opening pictures from other people's disks: inside the root, of bounded size, and readable to the last byte."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError, WebPImagePlugin

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself begins to suspect a decompression bomb
EXIF_ORIENTATION = 0x0112
OPENED = ("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP")
EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}


class PictureFault(ValueError):
    """A picture that cannot be used. `reason` is the stable code of the reject row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """The original bytes and what they hold. extension: of the real format, whatever the file is called."""

    data: bytes
    width: int
    height: int
    extension: str
    orientation: int = 1


def inside(root: Path, relative: str) -> Path:
    """The file `relative` under `root`; PictureFault if it leads out of the root, also by a link inside it.

    root: already resolved (`Path.resolve`).
    """
    if "\0" in relative or relative.startswith(("/", "\\")) or ".." in Path(relative).parts:
        raise PictureFault("path-outside-root", f"{relative!r} leads out of the root")
    resolved = os.path.realpath(root / relative)
    if not resolved.startswith(f"{root}{os.sep}"):
        raise PictureFault("path-outside-root", f"{relative!r} is a link that leads out of the root")
    return Path(resolved)


def read_picture(root: Path, relative: str) -> Picture:
    """The picture at `relative`, read and checked (`check_picture`); PictureFault says what is wrong with it."""
    path = inside(root, relative)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureFault("picture-too-large", f"{relative}: more than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise PictureFault("picture-missing", f"{relative}: no such file") from None
    except OSError as fault:
        raise PictureFault("picture-unreadable", f"{relative}: {fault.strerror}") from None
    return check_picture(data, relative)


def check_picture(data: bytes, name: str) -> Picture:
    """`data` as a picture that is whole: decoded once, or for a JPEG closed by its end marker.

    name: for messages. PictureFault for what is no picture, broken or too big.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata; only what cannot be decoded matters
        try:
            with Image.open(io.BytesIO(data), formats=OPENED) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise PictureFault("picture-too-large", f"{name}: {width}×{height} pixels; at most {MAX_PIXELS:,}")
                extension = EXTENSIONS[image.format or ""]
                orientation = _orientation(data, image)
                if not (image.format in ("JPEG", "MPO") and _ends_whole(data)):
                    image.draft("L", (width // 8, height // 8))  # JPEG: all coefficients are read, few are transformed
                    image.load()
        except UnidentifiedImageError:
            raise PictureFault("not-a-picture", f"{name}: not a JPEG, PNG, WebP, GIF or BMP") from None
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            IndexError,
            MemoryError,
            Image.DecompressionBombError,
        ) as fault:
            if isinstance(fault, PictureFault):
                raise
            raise PictureFault("picture-broken", f"{name}: {fault}") from None
    return Picture(data, width, height, extension, orientation)


def _ends_whole(data: bytes) -> bool:
    """Whether a JPEG ends in its end-of-image marker, which cannot occur within its compressed data.

    Decoding would find a missing end as well, at ten times the cost of all else that is done to a picture, and little
    more: it passes 199 of 200 single-bit errors.
    """
    return data.endswith(b"\xff\xd9") or data[-64:].rstrip(b"\0\r\n ").endswith(b"\xff\xd9")


def _orientation(data: bytes, image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none. Parsing EXIF is slow, so it is looked for first."""
    if b"Exif" not in data[:4096] and b"eXIf" not in data[:4096]:
        return 1
    return int(image.getexif().get(EXIF_ORIENTATION, 1))
