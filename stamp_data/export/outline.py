"""Masks as polygons that rasterise to exactly the same pixels."""

from __future__ import annotations

import numpy as np
import shapely

from stamp_data import rle as rles
from stamp_schemas import RLE


def polygons(mask: RLE) -> list[list[float]]:
    """Rings `[x, y, x, y, …]` along pixel edges, none of them with a hole, whose union is the mask; [] for the empty mask.

    A list of rings cannot say that one is a hole in another, so whatever has a hole is cut in two along its left edge.
    """
    pending = [part for part in shapely.get_parts(shapely.union_all(_bars(mask))) if part.geom_type == "Polygon"]
    rings = []
    while pending:
        shape = pending.pop()
        if not len(shape.interiors):
            rings.append(_corners(shape))
            continue
        left, bottom, right, top = shape.bounds
        cut = shape.interiors[0].bounds[0]
        halves = [shapely.box(left, bottom, cut, top), shapely.box(cut, bottom, right, top)]
        pieces = shapely.get_parts(shapely.intersection(shape, halves))
        pending += [piece for piece in pieces if piece.geom_type == "Polygon"]
    return sorted(rings)


def _bars(mask: RLE) -> list[shapely.Polygon]:
    """The runs of each column as upright bars, one pixel wide."""
    pixels = rles.decode(mask).T.astype(np.int8)
    edges = np.diff(np.pad(pixels, ((0, 0), (1, 1))), axis=1)
    columns, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    bars: list[shapely.Polygon] = shapely.box(columns, starts, columns + 1, ends).tolist()
    return bars


def _corners(shape: shapely.Polygon) -> list[float]:
    ring = shapely.get_coordinates(shapely.simplify(shape, 0).exterior)[:-1]
    flat: list[float] = ring.ravel().tolist()
    return flat
