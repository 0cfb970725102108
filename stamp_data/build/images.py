"""The pictures of one dataset, by what its annotations say of them: files below its folders, or inside annotation files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stamp_data.build.embedded import read_embedded
from stamp_data.files import MISSING, Stamp, stamp
from stamp_data.picture import LinkFault, Picture, PictureFault, RivalFault, check_picture, read_file
from stamp_schemas import ImageRef, StampError


class RawImages:
    """roots: the folders that `ImageRef.root` counts, resolved. follow_links: links may lead out of them.

    changed: when each of the planned pictures so far was last changed, in nanoseconds; 0 where there is none.
    """

    def __init__(self, roots: Sequence[Path], follow_links: bool = False) -> None:
        self.roots = roots
        self.follow_links = follow_links
        self.changed: list[int] = []

    def planned(self, image: ImageRef, size: int) -> Picture:
        """The picture, read and checked, and known to be the one that was planned with. size: bytes of its file then, -1 if
        there was none. PictureFault says what is wrong with it, and `told` what to do; StampError if it is another one by
        now, OSError if the system cannot read it.
        """
        try:
            data, found = self._read(image)
        except PictureFault:
            self._compare(image, stamp(self._path(image)), size)
            raise
        self._compare(image, found, size)
        return _checked(data, image)

    def nothing(self) -> None:
        """Take note of a record without a picture."""
        self.changed.append(MISSING.changed)

    def _read(self, image: ImageRef) -> tuple[bytes, Stamp]:
        root = self.roots[image.root]
        try:
            if image.embedded:
                return read_embedded(root, image.embedded, image.row, self.follow_links)
            return read_file(root, image.path, self.follow_links)
        except PictureFault as fault:
            if fault.reason == "picture-missing" and image.rivals:
                raise RivalFault(image.path, image.rivals) from None
            raise

    def _path(self, image: ImageRef) -> str:
        return f"{self.roots[image.root]}/{image.embedded or image.path}"

    def _compare(self, image: ImageRef, found: Stamp, planned: int) -> None:
        """Nothing may be made of a picture that comes, goes or changes meanwhile: it would not be what was planned."""
        if found.size != planned:
            what = "is gone" if found == MISSING else "has changed" if planned >= 0 else "has come"
            raise StampError(
                f"{self._path(image)}: {what} since the build began",
                "once the pictures stay as they are, run the same command again: finished shards are kept",
            )
        self.changed.append(found.changed)


def _checked(data: bytes, image: ImageRef) -> Picture:
    inner = f"row {image.row}" if image.row >= 0 else "its imageData"
    return check_picture(data, f"{image.embedded}: {inner}" if image.embedded else image.path)


def told(fault: PictureFault) -> str:
    """The fault with its remedy, as far as options of `build` and `doctor` are one."""
    if isinstance(fault, LinkFault):
        return f"{fault}; --follow-links follows it"
    if isinstance(fault, RivalFault):
        return f"{fault}; rename one, or take it away"
    if fault.reason == "picture-missing":
        return f"{fault}; --images DIR names the folder that it lies in"
    return str(fault)
