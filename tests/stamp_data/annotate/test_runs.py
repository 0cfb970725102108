"""Masks as the page reckons with them, held against arrays of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stamp_data import rle

from .making import put_images
from .serving import Served, Watched

pytestmark = pytest.mark.browser
HEIGHT, WIDTH = 13, 17
Mask = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def watched(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    served = Served(put_images(tmp_path_factory.mktemp("runs"), "a.png"))
    watched = Watched(chromium, served.address)
    yield watched
    watched.close()
    served.close()


def reckon(watched: Watched, code: str, *masks: Mask, **values: object) -> Any:
    """JavaScript over `runs`, `shapes`, masks `m` as runs and values `v`; what it makes as a mask, if it is runs."""
    given = {"masks": [{"size": mask.shape, "counts": rle.encode(mask).counts} for mask in masks], **values}
    said = watched.page.evaluate(
        "async (v) => { const runs = await import('./runs.js'), shapes = await import('./shapes.js'), [h, w] = v.size;"
        f"const m = v.masks.map(runs.decode); const made = {code};"
        "return Array.isArray(made) ? runs.encode(made, h, w) : made; }",
        {"size": masks[0].shape if masks else [HEIGHT, WIDTH], **given},
    )
    if not isinstance(said, dict) or "counts" not in said:
        return said
    height, width = said["size"]
    return rle.decode(rle.checked(height, width, (height, width), said["counts"]))


def blobs(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Mask:
    """Noise of any density, also nothing and everything."""
    random = np.random.default_rng(seed)
    density = (0, 1, 0.5, 0.05, 0.9)[seed % 5]
    return (random.random((height, width)) < density).astype(np.uint8)


def shifted(mask: Mask, down: int, across: int) -> Mask:
    padded = np.pad(mask, 1)
    return padded[1 + down : 1 + down + mask.shape[0], 1 + across : 1 + across + mask.shape[1]]


@pytest.mark.parametrize("seed", range(10))
def test_masks_go_through_and_are_joined_cut_grown_and_shrunk(watched: Watched, seed: int) -> None:
    a, b = blobs(seed), blobs(seed + 11)
    assert np.array_equal(reckon(watched, "m[0]", a), a)
    assert np.array_equal(reckon(watched, "runs.union(m[0], m[1])", a, b), a | b)
    assert np.array_equal(reckon(watched, "runs.without(m[0], m[1])", a, b), a & ~b & 1)
    assert np.array_equal(reckon(watched, "runs.common(m[0], m[1])", a, b), a & b)
    assert np.array_equal(reckon(watched, "runs.rest(m[0], h, w)", a), 1 - a)
    grown = a.copy()
    for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        grown |= shifted(a, down, across)
    assert np.array_equal(reckon(watched, "runs.grown(m[0], h, w)", a), grown)
    outside = 1 - a
    for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        outside |= shifted(1 - a, down, across)
    assert np.array_equal(reckon(watched, "runs.shrunk(m[0], h, w)", a), 1 - outside)
    assert reckon(watched, "runs.area(m[0])", a) == a.sum()


def flooded(mask: Mask, x: int, y: int) -> Mask:
    found, todo = np.zeros_like(mask), [(y, x)] if mask[y, x] else []
    while todo:
        down, across = todo.pop()
        if 0 <= down < mask.shape[0] and 0 <= across < mask.shape[1] and mask[down, across] and not found[down, across]:
            found[down, across] = 1
            todo += [(down + 1, across), (down - 1, across), (down, across + 1), (down, across - 1)]
    return found


@pytest.mark.parametrize("seed", range(10))
def test_parts_holes_and_bounds(watched: Watched, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.62).astype(np.uint8)
    for x, y in ((0, 0), (8, 6), (16, 12), (5, 9)):
        part = flooded(mask, x, y)
        assert np.array_equal(reckon(watched, "runs.part(m[0], v.x, v.y, h)", mask, x=x, y=y), part)
        hole = flooded(1 - mask, x, y)
        edge = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
        assert np.array_equal(reckon(watched, "runs.hole(m[0], v.x, v.y, h, w)", mask, x=x, y=y), hole * (not edge))
        assert reckon(watched, "runs.has(m[0], v.x, v.y, h)", mask, x=x, y=y) is bool(mask[y, x])
    box = reckon(watched, "runs.bounds(m[0], h)", mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert box == {"left": columns[0], "right": columns[-1] + 1, "top": rows[0], "bottom": rows[-1] + 1}


def middles() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    return xs, ys


def distance(p: tuple[float, float], q: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Of every middle of a pixel from a line."""
    xs, ys = middles()
    step = np.subtract(q, p)
    along = np.clip(((xs - p[0]) * step[0] + (ys - p[1]) * step[1]) / max(float(step @ step), 1e-9), 0, 1)
    return np.hypot(xs - p[0] - along * step[0], ys - p[1] - along * step[1])


@pytest.mark.parametrize("seed", range(8))
def test_strokes_are_what_lies_near_their_line(watched: Watched, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = [tuple(map(float, point)) for point in random.uniform(-3, 19, (1 + seed % 4, 2))]
    radius = float(random.uniform(1, 5))
    expected = np.zeros((HEIGHT, WIDTH), bool)
    for p, q in zip(points, points[1:] or points, strict=False):
        expected |= distance(p, q) <= radius
    said = [{"x": x, "y": y} for x, y in points]
    assert np.array_equal(
        reckon(watched, "shapes.stroke(v.points, v.radius, h, w)", points=said, radius=radius), expected
    )


def test_the_finest_brush_paints_single_pixels_and_lines_without_gaps(watched: Watched) -> None:
    dab = reckon(watched, "shapes.stroke([{x: 4.9, y: 7.1}], 0.5, h, w)")
    assert dab.sum() == 1 and dab[7, 4]
    for end in ((16, 3), (3, 12), (15, 11), (0, 0)):
        line = reckon(
            watched, "shapes.stroke([{x: 2.2, y: 1.3}, v.end], 0.5, h, w)", end={"x": end[0] + 0.1, "y": end[1] + 0.4}
        )
        padded = np.pad(line, 1)
        reached, todo = np.zeros_like(padded), [(2, 3)]
        while todo:
            y, x = todo.pop()
            if padded[y, x] and not reached[y, x]:
                reached[y, x] = 1
                todo += [(y + down, x + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
        assert reached.sum() == line.sum() and line[end[1], end[0]]


@pytest.mark.parametrize("seed", range(8))
def test_polygons_hold_the_middles_inside_of_them(watched: Watched, seed: int) -> None:
    corners = np.random.default_rng(seed).uniform(-4, 20, (3 + seed % 5, 2))
    xs, ys = middles()
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):  # rays to the left
        crosses = (y0 <= ys) != (y1 <= ys)
        inside ^= crosses & (x0 + (ys - y0) / (y1 - y0) * (x1 - x0) < xs)
    said = [{"x": float(x), "y": float(y)} for x, y in corners]
    assert np.array_equal(reckon(watched, "shapes.polygon(v.points, h, w)", points=said), inside)


def test_boxes(watched: Watched) -> None:
    made = reckon(watched, "shapes.box({x: 9.5, y: 3.2}, {x: 2.1, y: 40}, h, w)")
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[3:13, 2:10] = True
    assert np.array_equal(made, expected)


@pytest.mark.parametrize("seed", range(10))
def test_outlines_enclose_the_mask(watched: Watched, seed: int) -> None:
    mask = blobs(seed)
    code = (
        "await (async () => { const {outline} = await import('./outline.js'); const path = outline(m[0], h);"
        "const canvas = new OffscreenCanvas(w, h).getContext('2d'); canvas.fill(path, 'evenodd');"
        "const seen = [...canvas.getImageData(0, 0, w, h).data].filter((_, i) => i % 4 === 3);"
        "return {seen}; })()"
    )
    seen = np.array(reckon(watched, code, mask)["seen"]).reshape(HEIGHT, WIDTH)
    assert np.array_equal(seen, mask * 255)


def test_counts_of_a_picture_of_twenty_megapixels(watched: Watched) -> None:
    mask = np.zeros((4000, 5000), np.uint8)
    mask[5:3990, 3:4000] = 1
    mask[2000:2003, 2500] = 0
    assert np.array_equal(reckon(watched, "runs.shrunk(runs.grown(m[0], h, w), h, w)", mask)[:1990], mask[:1990])
    assert np.array_equal(reckon(watched, "m[0]", mask), mask)
