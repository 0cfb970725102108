"""Pictures with masks drawn over them: predictions, contact sheets and single records alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import numpy.typing as npt
from PIL import Image

from stamp_data.draw import Overlay
from stamp_data.draw.palette import COLOURS, EXTRA, MISSED, rgb
from stamp_data.grid import coverage
from stamp_data.rle import UInt8
from stamp_schemas import Grid
from stamp_schemas.record import FULL, IGNORE

FILL = 0.16  # opacity of a mask: the colours that expressions speak of stay visible
BOTH = 0.5  # opacity of the stripes where several masks lie
HALO = 0.6  # opacity of the white along an outline
STRIPE = 4  # pixels: width of a stripe
SHADE = 0.75  # opacity of a patch that is wholly covered
LINE = 0.28  # opacity of grid lines
VEIL = 0.82  # how much of the background a cutout hides
FINER = 2  # 14-pixel patches per merged patch, along one side

Pixels = npt.NDArray[np.float32]
Bits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """One mask to draw: uint8 [height, width], 0 or 1. labels: its coverage [grid height, grid width], for the overlays
    that show patches.
    """

    mask: UInt8
    colour: tuple[int, int, int]
    labels: UInt8 = field(default_factory=lambda: np.zeros((0, 0), np.uint8))


def with_masks(picture: Image.Image, masks: Iterable[Bits], colours: Sequence[str] = COLOURS) -> Image.Image:
    """An RGB picture with masks, bool [height, width] of it each, filled and outlined in these colours (#rrggbb) by turns."""
    layers = [Layer(mask.astype(np.uint8), rgb(colour)) for mask, colour in zip(masks, cycle(colours), strict=False)]
    return overlaid(picture, layers, "mask")


def overlaid(picture: Image.Image, targets: list[Layer], overlay: Overlay) -> Image.Image:
    """`picture` with the targets drawn over it. Masks are scaled to the picture's size."""
    canvas = np.asarray(picture, np.float32).copy()
    masks = [scaled(target.mask, canvas.shape[0], canvas.shape[1]) for target in targets]
    if overlay == "cutout":
        shown = np.zeros(canvas.shape[:2], bool)
        for mask in masks:
            shown |= mask
        _blend(canvas, (255, 255, 255), VEIL * ~shown)
    if overlay == "mask":
        for target, mask in zip(targets, masks, strict=True):
            _blend(canvas, target.colour, FILL * mask)
        _stripe(canvas, targets, masks)
    for target, mask in zip(targets, masks, strict=True):
        if overlay in ("mask", "contour"):
            line = contour(mask)
            _blend(canvas, (255, 255, 255), HALO * (contour(line) & ~line))
            _blend(canvas, target.colour, line.astype(np.float32))
        if overlay in ("grid28", "grid14"):
            labels = target.labels if overlay == "grid28" else _finer(target)
            _blend(canvas, target.colour, SHADE * _shade(labels, canvas))
        if overlay == "diff":
            patches = upsampled(target.labels, canvas.shape[0], canvas.shape[1])
            _blend(canvas, rgb(MISSED), SHADE * (mask & ~patches))
            _blend(canvas, rgb(EXTRA), SHADE * (patches & ~mask))
    if targets and overlay in ("grid28", "grid14", "diff"):
        factor = FINER if overlay == "grid14" else 1
        high, wide = targets[0].labels.shape
        _blend(canvas, (255, 255, 255), LINE * _lines(canvas, factor * high, factor * wide))
    return Image.fromarray(np.rint(canvas).astype(np.uint8))


def _stripe(canvas: Pixels, targets: list[Layer], masks: list[Bits]) -> None:
    """Pixels of several masks get stripes, of the colour of each by turns."""
    count = np.sum(masks, axis=0, dtype=np.int64)
    if count.max(initial=0) < 2:
        return
    rows, columns = np.indices(count.shape)
    turn = (rows + columns) // STRIPE % np.maximum(count, 1)
    before = np.zeros_like(count)  # masks of the pixel that came already
    for target, mask in zip(targets, masks, strict=True):
        _blend(canvas, target.colour, BOTH * (mask & (count > 1) & (turn == before)))
        before += mask


def scaled(mask: UInt8, height: int, width: int) -> Bits:
    """A mask at another size: pixels of which at least half was covered."""
    resized = Image.fromarray(mask * np.uint8(255)).resize((width, height), Image.Resampling.BOX)
    bits: Bits = np.asarray(resized) >= 128
    return bits


def upsampled(labels: UInt8, height: int, width: int) -> Bits:
    """Patches that are at least half covered, at the size of a picture: [height, width]."""
    positive = (labels != IGNORE) & (2 * labels.astype(np.int32) >= FULL)
    bits: Bits = positive[np.ix_(_places(height, labels.shape[0]), _places(width, labels.shape[1]))]
    return bits


def contour(mask: Bits) -> Bits:
    """The line along a mask's border: a pixel to either side of it."""
    padded = np.pad(mask, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    line: Bits = np.any([mask != neighbour for neighbour in neighbours], axis=0)
    return line


def _places(pixels: int, patches: int) -> npt.NDArray[np.int64]:
    """The patch that holds each pixel's centre, along one axis."""
    return (2 * np.arange(pixels) + 1) * patches // (2 * pixels)


def _finer(target: Layer) -> UInt8:
    high, wide = target.labels.shape
    return coverage(target.mask, Grid(FINER * high, FINER * wide))


def _shade(labels: UInt8, canvas: Pixels) -> Pixels:
    shares = np.where(labels == IGNORE, 0, labels).astype(np.float32) / np.float32(FULL)
    return shares[np.ix_(_places(canvas.shape[0], labels.shape[0]), _places(canvas.shape[1], labels.shape[1]))]


def _lines(canvas: Pixels, rows: int, columns: int) -> Pixels:
    lines = np.zeros(canvas.shape[:2], np.float32)
    lines[np.flatnonzero(np.diff(_places(canvas.shape[0], rows))) + 1] = 1
    lines[:, np.flatnonzero(np.diff(_places(canvas.shape[1], columns))) + 1] = 1
    return lines


def _blend(canvas: Pixels, colour: tuple[int, int, int], opacity: npt.NDArray[np.floating]) -> None:
    canvas += opacity[:, :, None].astype(np.float32) * (np.array(colour, np.float32) - canvas)
