"""Masks as outlines: compact, sharp at any size, and drawable by anything that knows SVG paths."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import shapely

from stamp_data.draw.overlay import scaled
from stamp_data.rle import UInt8

SIDE = 640  # pixels: larger masks are traced at this size
STAIR = 8  # pixels: a longer edge is a side of the shape, not a step of a slanted line
TOLERANCE = 0.7  # pixels by which an outline may leave the line through the middles of the steps
SMALLEST = 8  # corners; rings of fewer stay as they are

Points = npt.NDArray[np.float64]


def mask_path(mask: UInt8) -> str:
    """SVG path (`M…l…z`, even-odd, in pixels of the mask, to a half) of a mask [height, width]; "" for the empty mask."""
    height, width = mask.shape
    shrink = max(height, width) / SIDE
    small = mask.astype(bool)
    if shrink > 1:
        small = scaled(mask, max(1, round(height / shrink)), max(1, round(width / shrink)))
    factor = np.array([width / small.shape[1], height / small.shape[0]])
    rows, columns = np.flatnonzero(small.any(axis=1)), np.flatnonzero(small.any(axis=0))
    if not rows.size:
        return ""
    corner = np.array([columns[0], rows[0]])
    part = small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # most masks fill little of their picture
    return "".join(_ring_path((_simple(ring) + corner) * factor) for ring in rings(part))


def rings(mask: npt.NDArray[np.bool_]) -> Iterator[Points]:
    """Closed outlines of the mask's pixels, outer and inner alike: [corners, 2] as x, y, the last one joined to the first.

    Along each row of pixel corners, the corners of the outline pair up to its horizontal edges; along each column to the
    vertical ones. A ring is a walk that takes the two by turns. Where two pixels touch at a corner only, it counts twice.
    """
    padded = np.pad(mask, 1)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    odd = above_left ^ above_right ^ below_left ^ below_right
    touching = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    ys, xs = np.nonzero(odd | touching)
    times = 1 + touching[ys, xs].astype(int)
    ys, xs = np.repeat(ys, times), np.repeat(xs, times)
    by_column = np.lexsort((ys, xs))
    vertical = np.empty(len(xs), int)
    vertical[by_column[::2]], vertical[by_column[1::2]] = by_column[1::2], by_column[::2]
    points = np.stack([xs, ys], axis=1).astype(np.float64)
    partner, free = vertical.tolist(), [True] * len(xs)
    for start in range(len(partner)):
        if free[start]:
            walk, at = [], start
            while free[at]:
                beside = at ^ 1  # corners of a row stand next to each other, in pairs
                walk += [at, beside]
                free[at] = free[beside] = False
                at = partner[beside]
            yield points[walk]


def _simple(ring: Points) -> Points:
    """The ring as a person would draw it: steps of slanted lines joined by their middles, then few points."""
    if len(ring) < SMALLEST:
        return ring
    smooth = _through_steps(ring)
    line = shapely.simplify(shapely.linestrings(np.vstack([smooth, smooth[:1]])), TOLERANCE, preserve_topology=False)
    simple: Points = shapely.get_coordinates(line)[:-1]
    return simple if len(simple) > 2 else ring


def _through_steps(ring: Points) -> Points:
    """Short edges between two turns of opposite sense give way to their middles; others keep both their ends."""
    following = np.arange(1, len(ring) + 1)
    following[-1] = 0
    ends = ring[following]
    edges = ends - ring
    before, after = edges[following - 2], edges[following]
    goes_on = before[:, 0] * after[:, 0] + before[:, 1] * after[:, 1] > 0
    step = (goes_on & (np.abs(edges[:, 0]) + np.abs(edges[:, 1]) <= STAIR))[:, None]
    middle = (ring + ends) / 2
    smooth: Points = np.empty((2 * len(ring), 2))
    smooth[::2], smooth[1::2] = np.where(step, middle, ring), np.where(step, middle, ends)
    return smooth


def _ring_path(ring: Points) -> str:
    """In half pixels, each point relative to the one before."""
    halves = np.rint(2 * ring).astype(int)
    steps = np.diff(halves, axis=0)
    moved = "".join(_number(half) for half in steps[steps.any(axis=1)].ravel().tolist())
    return f"M{_number(int(halves[0, 0]))}{_number(int(halves[0, 1]))}l{moved}z"


def _number(half: int) -> str:
    """A number of half pixels, with the space that keeps it from the number before."""
    text = f"{half / 2:g}"
    return text if half < 0 else f" {text}"
