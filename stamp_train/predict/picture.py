"""Pictures as people hand them over: a path, a PIL picture or an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stamp_data.picture import PictureFault, read_picture
from stamp_data.pixels import decode_picture, to_rgb
from stamp_schemas import StampError

Source = str | Path | Image.Image | np.ndarray[Any, np.dtype[np.uint8]]


def open_picture(source: Source) -> Image.Image:
    """A picture in RGB.

    Files are turned upright as their EXIF orientation says, which is what people see when they write about them; pixels
    that come decoded are taken as they are.

    Args:
        source: a path, a PIL picture, or uint8 [height, width, 3].

    Raises:
        StampError: no such file, no picture, broken, or larger than `stamp_data.picture` takes; an array of another kind.
    """
    if isinstance(source, Image.Image):
        return to_rgb(source)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            raise StampError(f"picture {source.dtype} {list(source.shape)}", "pass uint8 [height, width, 3]")
        return Image.fromarray(source)
    path = Path(source)
    # A link that someone names is followed; those that a list of requests names are checked where it is read.
    folder = path.resolve().parent
    try:
        return decode_picture(read_picture(folder, path.resolve().name).data, upright=True)
    except PictureFault as fault:
        raise StampError(f"{path}: {_without(str(fault), path.resolve().name)}") from None


def _without(text: str, name: str) -> str:
    return text.removeprefix(f"{name}: ")
