"""The pictures that are annotated: those below a folder, or one; as browsers show them, upright."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stamp_data.files import Stamp, stamp
from stamp_data.picture import Picture, check_picture, inside, read_bytes
from stamp_data.pixels import SHOWN, browser_type, decode_picture, encoded
from stamp_data.sources.finding import SUFFIXES, walk
from stamp_data.sources.paths import is_plain
from stamp_schemas import StampError, UsageFault
from stamp_schemas.annotated import ImageFile

KEPT = 2  # decoded pictures, of at most 240 MB each
QUALITY = 95  # of what is made for the browser; masks are drawn over it, and never cut from it


UInt8 = npt.NDArray[np.uint8]


class Images:
    """The pictures by number, in the order of their names. skipped: names that no annotation could hold.

    root: a folder or one picture. but: folders that are none of it. UsageFault if there is none; of one picture, faults as
    `file`.
    """

    def __init__(self, root: Path, but: tuple[Path, ...] = ()) -> None:
        if not root.exists():
            raise UsageFault(f"{root} does not exist", "IMAGES is a folder of pictures, or one picture")
        self.root = (root.parent if root.is_file() else root).resolve()
        found = [root.name] if root.is_file() else _below(self.root, [path.resolve() for path in but])
        self.names = [name for name in found if is_plain(name)]
        self.skipped = [name for name in found if not is_plain(name)]
        self._measured = lru_cache(maxsize=1000)(self._measure)  # a size is asked for with every change
        self._decoded = lru_cache(maxsize=KEPT)(self._decode)
        if self.skipped and not self.names:
            raise UsageFault(f"{root}: no annotation could hold the name of {self.skipped[0]!r}", "rename it")
        if not self.names:
            raise UsageFault(f"{root} holds no picture", f"pictures end in {', '.join(SUFFIXES)}")
        if root.is_file():
            self.file(0)

    def file(self, number: int) -> ImageFile:
        """A picture's name and size. PictureFault if it cannot be read; StampError if there is none of this number."""
        return self._measured(*self._named(number))

    def shown(self, number: int) -> tuple[bytes, str]:
        """(bytes, media type) of a picture for the browser, upright, as a model sees it; faults as `file`."""
        name = self._name(number)
        _, picture = self._read(name)
        if picture.orientation == 1 and (kind := browser_type(picture.data, picture.extension, name)):
            return picture.data, kind
        upright = decode_picture(picture.data, name, upright=True)
        return encoded(upright, "JPEG", quality=QUALITY), SHOWN["jpg"]

    def orientation(self, number: int) -> int:
        """By which EXIF turns a picture upright, 1 if it lies so; faults as `file`."""
        return self._read(self._name(number))[1].orientation

    def bytes(self, number: int) -> bytes:
        """A picture's file; faults as `file`."""
        return self._read(self._name(number))[1].data

    def only(self, names: Collection[str]) -> None:
        """Leave out all others."""
        self.names = [name for name in self.names if name in names]

    def pixels(self, number: int) -> UInt8:
        """A picture, upright, uint8 [height, width, 3]; the last few are kept. Faults as `file`."""
        return self._decoded(*self._named(number))

    def fresh(self, number: int) -> UInt8:
        """As `pixels`, for a look in passing: what is kept stays, and this is not."""
        return self._decode(*self._named(number))

    def _name(self, number: int) -> str:
        if not 0 <= number < len(self.names):
            raise StampError(f"there is no picture {number}")
        return self.names[number]

    def _named(self, number: int) -> tuple[str, Stamp]:
        """What a picture is kept by: its number changes where others are left out."""
        name = self._name(number)
        return name, stamp(f"{self.root}/{name}")

    def _measure(self, name: str, _: Stamp) -> ImageFile:
        return self._read(name)[0]

    def _decode(self, name: str, _: Stamp) -> UInt8:
        data = self._read(name)[1].data
        return np.asarray(decode_picture(data, name, upright=True))

    def _read(self, name: str) -> tuple[ImageFile, Picture]:
        try:
            data, _ = read_bytes(inside(self.root, name), name)
        except OSError as fault:
            raise StampError(f"{name}: {fault.strerror}") from None
        picture = check_picture(data, name)
        sides = (picture.width, picture.height)
        width, height = sides if picture.orientation < 5 else sides[::-1]
        return ImageFile(name, width, height), picture


def _below(root: Path, but: list[Path]) -> list[str]:
    """Pictures below a folder, but not in these."""
    return [
        f"{folder}/{name}" if folder else name
        for folder, names in walk(root)
        if not any((root / folder).is_relative_to(path) for path in but if path != root)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
