"""Masks drawn over their picture, as `stamp-data inspect` draws them: filled, with an outline, a colour for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stamp_data.inspect.draw import Layer, overlaid
from stamp_data.inspect.palette import COLOURS, rgb

_NO_LABELS = np.zeros((0, 0), np.uint8)  # patch labels are for overlays of training data


def overlay(picture: Image.Image, masks: Sequence[NDArray[np.bool_]], colours: Sequence[str] = COLOURS) -> Image.Image:
    """The picture with masks over it.

    Args:
        picture: RGB.
        masks: bool [height, width] of the picture each.
        colours: #rrggbb, taken in turn.
    """
    layers = [
        Layer(mask.astype(np.uint8), _NO_LABELS, rgb(one)) for mask, one in zip(masks, cycle(colours), strict=False)
    ]
    return overlaid(picture, layers, "mask")
