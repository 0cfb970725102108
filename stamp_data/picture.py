"""Opening pictures from other people's disks: inside the root, of bounded size, and readable to the last byte."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError, WebPImagePlugin

Image.preinit()  # Pillow would load its readers at the first picture: in every worker, not once in what they are forked from

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself begins to suspect a decompression bomb
_PILLOW_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    OverflowError,
    MemoryError,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise for files that are not what they say."""
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


def inside(root: Path, relative: str) -> str:
    """The file `relative` under `root`; PictureFault if it leads out of the root, also by a link inside it.

    root: already resolved (`Path.resolve`).
    """
    folder, _, name = relative.rpartition("/")
    if "\0" in relative or relative.startswith(("/", "\\")) or ".." in (*folder.split("/"), name):
        raise PictureFault("path-outside-root", f"{relative!r} leads out of the root")
    path = f"{_real_folder(root, folder)}/{name}"
    if os.path.islink(path):  # noqa: PTH114 - once per record, and a Path costs more than the call
        path = os.path.realpath(path)
    if not path.startswith(f"{root}{os.sep}"):
        raise PictureFault("path-outside-root", f"{relative!r} is a link that leads out of the root")
    return path


@lru_cache(maxsize=1024)
def _real_folder(root: Path, folder: str) -> str:
    return os.path.realpath(root / folder)


def read_picture(root: Path, relative: str) -> Picture:
    """The picture at `relative`, read and checked (`check_picture`); PictureFault says what is wrong with it."""
    path = inside(root, relative)
    try:
        status = os.stat(path)  # noqa: PTH116 - see above
        if not stat.S_ISREG(status.st_mode):
            raise PictureFault("picture-unreadable", f"{relative}: not a regular file")
        if status.st_size > MAX_BYTES:
            raise PictureFault("picture-too-large", f"{relative}: more than {MAX_BYTES >> 20} MiB")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see above
            data = file.read()
    except FileNotFoundError:
        raise PictureFault("picture-missing", f"{relative}: no such file") from None
    except OSError as fault:
        raise PictureFault("picture-unreadable", f"{relative}: {fault.strerror}") from None
    return check_picture(data, relative)


def check_picture(data: bytes, name: str) -> Picture:
    """`data` as a picture that is whole: decoded once, or for a JPEG closed by its end marker.

    name: for messages. PictureFault for what is no picture, broken or too big.
    """
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
    except PictureFault:
        raise
    except UnidentifiedImageError:
        raise PictureFault("not-a-picture", f"{name}: not a JPEG, PNG, WebP, GIF or BMP") from None
    except _PILLOW_FAULTS as fault:
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
