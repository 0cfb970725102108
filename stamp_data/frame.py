"""Which picture an annotation means: the one that the file stores, or the one that people see, turned upright by EXIF.

Records hold pictures as they are stored, so masks that were made on the upright picture are turned back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.picture import Picture, PictureFault
from stamp_schemas import RLE, ImageRef

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored picture upright."""
STORED = UPRIGHT | {6: UPRIGHT[8], 8: UPRIGHT[6]}  # the way back
_SIDEWAYS = (5, 6, 7, 8)  # exchange width and height


@dataclass(frozen=True)
class Seen:
    """The picture as its annotation means it. width, height: pixels there. orientation: EXIF's, by which that picture was
    turned from the stored one; 1 if it is the stored one. note: what has to be told about the choice, "" if nothing.
    """

    width: int
    height: int
    orientation: int = 1
    note: str = ""

    def stored(self, mask: RLE) -> RLE:
        """A mask of this picture as one of the stored picture."""
        return turned(mask, STORED, self.orientation)


def turned(mask: RLE, way: Mapping[int, Image.Transpose], orientation: int) -> RLE:
    """A mask turned by an EXIF orientation. way: UPRIGHT or STORED."""
    if orientation == 1:
        return mask
    return rles.encode(np.asarray(Image.fromarray(rles.decode(mask)).transpose(way[orientation])))


def seen(picture: Picture, image: ImageRef) -> Seen:
    """The picture that an annotation means: by its format's convention, unless the sizes that it names say otherwise.

    PictureFault `size-mismatch` if these are neither those of the stored picture nor those of the upright one.
    """
    stored = Seen(picture.width, picture.height)
    fits_stored = _fits(image, stored)
    if picture.orientation == 1 and fits_stored:
        return stored
    upright = Seen(*upright_size(picture), picture.orientation)
    fits_upright = _fits(image, upright)
    if not fits_stored and not fits_upright:
        claimed = f"{image.width or '?'}×{image.height or '?'}"
        sizes = f"{image.path} has {picture.width}×{picture.height} pixels, its annotation says {claimed}"
        raise PictureFault("size-mismatch", sizes)
    is_upright = image.frame == "upright"
    overruled = not (fits_upright if is_upright else fits_stored)
    chosen = upright if is_upright != overruled else stored
    if not overruled and image.frame != "unsure":
        return chosen
    which = "upright" if chosen is upright else "stored"
    why = "as its sizes are" if overruled else "which nobody can know: look at the mask"
    note = f"{image.path}: EXIF orientation {picture.orientation}; taken as made on the {which} picture, {why}"
    return Seen(chosen.width, chosen.height, chosen.orientation, note)


def upright_size(picture: Picture) -> tuple[int, int]:
    """Width and height once the picture is turned as its orientation says."""
    width, height = picture.width, picture.height
    return (height, width) if picture.orientation in _SIDEWAYS else (width, height)


def _fits(image: ImageRef, size: Seen) -> bool:
    return (image.width or size.width, image.height or size.height) == (size.width, size.height)
