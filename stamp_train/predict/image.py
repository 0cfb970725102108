"""Images as people hand them over: a path, a file's bytes, a PIL image, an array or a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stamp_data.picture import read_bytes
from stamp_data.pixels import decode_picture, to_rgb
from stamp_schemas import StampError

_KINDS = "pass a path, the bytes of a file, a PIL image, or uint8 [height, width, 3]"
Source = str | Path | bytes | Image.Image | np.ndarray[Any, np.dtype[np.uint8]] | torch.Tensor


def open_image(source: Source) -> Image.Image:
    """An image in RGB, from a path, a file's bytes, a PIL image, or uint8 [height, width, 3], an array or a tensor.

    Files are turned upright as their EXIF orientation says, which is what people see when they write about them; pixels
    that come decoded are taken as they are. StampError says what is wrong with a source; it names a path.
    """
    if isinstance(source, Image.Image):
        return to_rgb(source)
    if isinstance(source, np.ndarray | torch.Tensor):
        return _of_pixels(source)
    if isinstance(source, bytes):
        return decode_picture(source, "picture", upright=True)
    if not isinstance(source, str | Path):
        raise StampError(f"a picture of type {type(source).__name__}", _KINDS)
    name = str(source)
    try:
        # A link that someone names is followed; those that a list of requests names are checked where it is read.
        data, _ = read_bytes(name, name)
    except OSError as fault:
        raise StampError(f"{name}: {fault.strerror}") from None
    return decode_picture(data, name, upright=True)


def _of_pixels(pixels: np.ndarray[Any, Any] | torch.Tensor) -> Image.Image:
    if pixels.dtype not in (np.uint8, torch.uint8) or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise StampError(f"picture {pixels.dtype} {list(pixels.shape)}", "pass uint8 [height, width, 3]")
    return Image.fromarray(pixels.numpy(force=True) if isinstance(pixels, torch.Tensor) else pixels)
