"""Opening pictures from other people's disks: inside the root, of bounded size, and readable to the last byte."""

from __future__ import annotations

import io
import logging
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from stamp_data.files import NO_SUCH_FILE, Stamp, rivals_told
from stamp_schemas.errors import StampError, naming

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what is wrong with a file is ours to say
Image.preinit()  # Pillow would load its readers at the first picture: in every worker, not once in what they are forked from

MAX_BYTES = 256 * 2**20
LFS = b"version https://git-lfs.github.com/spec/"  # how the files begin that stand for others in repositories
MAX_PIXELS = 80_000_000  # below the size at which Pillow itself begins to suspect a decompression bomb
_PILLOW_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's readers raise for files that are not what they say. Want of memory is not the file's fault: no picture is
larger than MAX_PIXELS."""
EXIF_ORIENTATION = 0x0112  # as TIFF calls it too
OPENED = ("JPEG", "PNG", WebPImagePlugin.WebPImageFile.format, "GIF", "BMP", TiffImagePlugin.TiffImageFile.format)
EXTENSIONS = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif",
}  # fmt: skip


class PictureFault(StampError):
    """A picture that cannot be used. `reason` is the stable code of the reject row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return PictureFault, (self.reason, self.message)


class LinkFault(PictureFault):
    """A picture that a link leads to, out of the root."""

    def __init__(self, relative: str) -> None:
        super().__init__("path-outside-root", f"{relative!r} is a link that leads out of the root")


class RivalFault(PictureFault):
    """A picture that is not there, while several others are called much the same."""

    def __init__(self, relative: str, rivals: Sequence[str]) -> None:
        super().__init__("picture-missing", f"{relative}: ambiguous: {rivals_told(rivals)}")


@dataclass(frozen=True)
class Picture:
    """The original bytes and what they hold. extension: of the real format, whatever the file is called."""

    data: bytes
    width: int
    height: int
    extension: str
    orientation: int = 1


def inside(root: Path, relative: str, follow_links: bool = False) -> str:
    """The file `relative` under `root`; PictureFault if it leads out of the root, LinkFault if that is by a link inside it.

    root: already resolved (`Path.resolve`). follow_links: links may lead anywhere.
    """
    folder, _, name = relative.rpartition("/")
    if "\0" in relative or relative.startswith(("/", "\\")) or ".." in (*folder.split("/"), name):
        raise PictureFault("path-outside-root", f"{relative!r} leads out of the root")
    if follow_links:
        return f"{root}/{relative}"
    path = f"{_real_folder(root, folder)}/{name}"
    if os.path.islink(path):  # noqa: PTH114 - once per record, and a Path costs more than the call
        path = os.path.realpath(path)
    if not path.startswith(f"{root}{os.sep}"):
        raise LinkFault(relative)
    return path


@lru_cache(maxsize=1024)
def _real_folder(root: Path, folder: str) -> str:
    return os.path.realpath(root / folder)


def read_file(root: Path, relative: str, follow_links: bool = False) -> tuple[bytes, Stamp]:
    """The bytes of the file at `relative` under `root`, see `inside` and `read_bytes`."""
    return read_bytes(inside(root, relative, follow_links), relative)


def read_bytes(path: str, name: str) -> tuple[bytes, Stamp]:
    """The bytes of a picture file, and the stamp that they had. name: for messages.

    PictureFault for what is no file that may be read, whoever tries; OSError where the system fails to read it.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - see above
        if not stat.S_ISREG(status.st_mode):
            raise PictureFault("picture-unreadable", f"{name}: not a regular file")
        if status.st_size > MAX_BYTES:
            raise PictureFault("picture-too-large", f"{name}: more than {MAX_BYTES >> 20} MiB")
        with open(path, "rb", buffering=0) as file, naming(path):  # noqa: PTH123 - see above
            data = file.read()
    except OSError as fault:
        if fault.errno in NO_SUCH_FILE:
            raise PictureFault("picture-missing", f"{name}: no such file") from None
        raise
    return data, Stamp(len(data), status.st_mtime_ns)


def check_picture(data: bytes, name: str) -> Picture:
    """`data` as a picture that is whole: decoded once, or for a JPEG closed by its end marker.

    name: for messages. PictureFault for what is no picture, broken or too big.
    """
    with opening(data, name) as image:
        width, height = stored_size(image)
        orientation = orientation_of(image)
        if not (image.format in ("JPEG", "MPO") and _ends_whole(data)):
            image.draft(
                "L", (max(1, width // 8), max(1, height // 8))
            )  # JPEG: all coefficients are read, few are transformed
            image.load()
            if image.format == "PNG":
                orientation = orientation_of(image)  # its EXIF may stand behind the pixels
        return Picture(data, width, height, EXTENSIONS[image.format or ""], orientation)


@contextmanager
def opening(data: bytes | memoryview | BinaryIO, name: str, formats: tuple[str, ...] = OPENED) -> Iterator[Image.Image]:
    """The picture as Pillow opens it, of a format and a size that are taken; whatever Pillow raises in the block, as a
    PictureFault. name: for messages, "" to leave it out.
    """
    label = f"{name}: " if name else ""
    try:
        file = io.BytesIO(data) if isinstance(data, bytes | memoryview) else data
        with Image.open(file, formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureFault("picture-too-large", f"{label}{width}×{height} pixels; at most {MAX_PIXELS:,}")
            yield image
    except PictureFault:
        raise
    except UnidentifiedImageError:  # its text has an address in memory
        told = "not a JPEG, PNG, WebP, GIF, BMP or TIFF"
        if isinstance(data, bytes) and data.startswith(LFS):
            told = "a pointer of Git LFS, not the picture; `git lfs pull` fetches it"
        raise PictureFault("not-a-picture", label + told) from None
    except _PILLOW_FAULTS as fault:
        if isinstance(fault, OSError) and fault.errno is not None:
            raise  # the system's, such as too many open files
        raise PictureFault("picture-broken", f"{label}{fault or type(fault).__name__}") from None


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as stored; of a TIFF, Pillow tells those of the upright picture, depending on its version."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return image.tag_v2[TiffImagePlugin.IMAGEWIDTH], image.tag_v2[TiffImagePlugin.IMAGELENGTH]
    return image.size


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or it makes no sense. Of a TIFF, ask before it is decoded."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        value = image.tag_v2.get(EXIF_ORIENTATION)
    elif "exif" in image.info or "Raw profile type exif" in image.info:  # to parse what is not there is slow as well
        value = image.getexif().get(EXIF_ORIENTATION)
    else:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _ends_whole(data: bytes) -> bool:
    """Whether a JPEG ends in its end-of-image marker, which cannot occur within; to decode it would take ten times as long."""
    return data.endswith(b"\xff\xd9") or data[-64:].rstrip(b"\0\r\n ").endswith(b"\xff\xd9")
