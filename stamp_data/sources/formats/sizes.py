"""Sizes of pictures, for formats that write coordinates in parts of them."""

from __future__ import annotations

from pathlib import Path

from stamp_data.files import open_plain
from stamp_data.picture import MAX_BYTES, PictureFault, inside, opening, orientation_of, stored_size
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.finding import Finder
from stamp_schemas import ImageRef, StampError

SIDEWAYS = 5  # the first EXIF orientation that exchanges width and height; all after it do


def upright_size(image: ImageRef, finder: Finder) -> tuple[int, int]:
    """Width and height of a picture as people see it, from the head of its file.

    RecordFault `picture-missing` or `bad-image` if there is none, or it cannot be read.
    """
    try:
        path = Path(inside(Path(finder.roots[image.root]), image.path, finder.follow_links))
        with open_plain(path, MAX_BYTES) as file, opening(file, image.path) as found:
            width, height = stored_size(found)
            return (height, width) if orientation_of(found) >= SIDEWAYS else (width, height)
    except PictureFault as fault:
        raise RecordFault("bad-image", fault.message) from None
    except StampError as fault:
        raise RecordFault("bad-image", f"{image.path}: {fault.message.removeprefix(str(path))}") from None
    except OSError as fault:
        raise RecordFault("picture-missing", f"{image.path}: {fault.strerror}; --images DIR names its folder") from None
