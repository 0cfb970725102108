"""Pixels of a scene: a textured ground, then every thing with its shadow, edges smoothed by supersampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from stamp_data.synth.scene import COLOURS, RGB, Scene, Thing, pick

Plane = npt.NDArray[np.float32]

_FINE = 8  # sub-pixels per pixel and axis
_HALF = 128  # ink for sub-pixels on an outline: half of them is inside, and without it everything would be too large
_SHADOW_SHIFT, _SHADOW_BLUR, _SHADOW_DEPTH = (2, 3), 2.5, 0.42

# Muted, so that every colour of a thing stands out from every ground.
_GROUNDS: tuple[tuple[RGB, RGB], ...] = (
    ((226, 214, 194), (203, 188, 163)),  # sand
    ((196, 212, 222), (168, 188, 203)),  # mist
    ((205, 216, 199), (178, 194, 172)),  # sage
    ((217, 208, 224), (192, 181, 204)),  # lilac
    ((230, 205, 198), (208, 180, 172)),  # clay
    ((205, 205, 207), (178, 179, 183)),  # stone
)


@dataclass(frozen=True)
class Drawing:
    """A picture and, for each thing of its scene, the share of every pixel that shows it (0..1, height x width)."""

    picture: Image.Image
    shown: tuple[Plane, ...]


def render(scene: Scene, rng: np.random.Generator) -> Drawing:
    """Draw a scene. `rng` decides only what has no meaning: ground, texture, shades."""
    canvas = _ground(rng, scene.width, scene.height)
    shown: list[Plane] = []
    for thing in scene.things:
        cover = coverage(thing.whole, scene.width, scene.height)
        _paint(canvas, cover, thing, rng)
        shown = [under * (np.float32(1) - cover) for under in shown] + [cover]
    grain = rng.standard_normal(canvas.shape[:2], dtype=np.float32) * np.float32(rng.uniform(1.5, 4.5))
    pixels = np.clip(canvas + grain[..., None], 0, 255).astype(np.uint8)
    return Drawing(Image.fromarray(pixels), tuple(shown))


def coverage(geometry: Any, width: int, height: int) -> Plane:
    """Share of each pixel inside a polygon or several, holes left out."""
    plane = np.zeros((height, width), np.float32)
    left, top, right, bottom = geometry.bounds
    x0, y0 = max(int(left) - 1, 0), max(int(top) - 1, 0)
    x1, y1 = min(int(right) + 2, width), min(int(bottom) + 2, height)
    if x1 <= x0 or y1 <= y0:
        return plane
    fine = Image.new("L", ((x1 - x0) * _FINE, (y1 - y0) * _FINE))
    pen = ImageDraw.Draw(fine)
    for polygon in getattr(geometry, "geoms", [geometry]):
        for line, ink in [(polygon.exterior, 255), *((hole, 0) for hole in polygon.interiors)]:
            points = (np.asarray(line.coords)[:, :2] - (x0, y0)) * _FINE
            pen.polygon(points.ravel().tolist(), fill=ink, outline=_HALF)
    plane[y0:y1, x0:x1] = np.asarray(fine.reduce(_FINE), np.float32) / 255
    return plane


def _paint(canvas: Plane, cover: Plane, thing: Thing, rng: np.random.Generator) -> None:
    """Lay one thing over the canvas, in place: first its shadow, then itself, lit from the upper left."""
    height, width = cover.shape
    left, top, right, bottom = (int(v) for v in thing.whole.bounds)
    x0, y0, x1, y1 = max(left - 6, 0), max(top - 6, 0), min(right + 14, width), min(bottom + 14, height)
    part, patch = cover[y0:y1, x0:x1, None], canvas[y0:y1, x0:x1]
    patch *= 1 - _SHADOW_DEPTH * _shadow(cover[y0:y1, x0:x1])[..., None]
    tint = np.asarray(COLOURS[thing.colour], np.float32) + rng.uniform(-5, 5, 3).astype(np.float32)
    across = (np.arange(x0, x1, dtype=np.float32) - left) / max(right - left, 1)
    down = (np.arange(y0, y1, dtype=np.float32) - top) / max(bottom - top, 1)
    light = np.float32(1.14) - np.float32(0.14) * (across[None, :] + down[:, None])
    patch += part * (tint * light[..., None] - patch)


def _shadow(cover: Plane) -> Plane:
    """Soft darkness (0..1) that something of this coverage casts to the lower right."""
    image = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(_SHADOW_BLUR))
    across, down = _SHADOW_SHIFT
    soft = np.zeros_like(cover)
    soft[down:, across:] = np.asarray(image, np.float32)[:-down, :-across] / 255
    return soft


def _ground(rng: np.random.Generator, width: int, height: int) -> Plane:
    """A two-tone ground, float RGB: the mixture of the tones follows a pattern that is drawn at random."""
    light, dark = (np.asarray(tone, np.float32) for tone in pick(_GROUNDS, rng))
    x = np.arange(width, dtype=np.float32)[None, :] / min(width, height)
    y = np.arange(height, dtype=np.float32)[:, None] / min(width, height)
    clouds = _clouds(rng, width, height)
    pattern = int(rng.integers(4))
    if pattern == 0:  # light from one side
        mix = 0.6 * y / y[-1, 0] + 0.25 * x / x[0, -1] + 0.3 * (clouds - 0.5)
    elif pattern == 1:  # clouds
        mix = clouds
    elif pattern == 2:  # boards: wavering stripes
        mix = 0.5 + 0.32 * np.sin(2 * np.pi * (6 * y + 0.5 * clouds)) + 0.3 * (clouds - 0.5)
    else:  # tiles
        seams = np.maximum(np.cos(2 * np.pi * 4 * x), np.cos(2 * np.pi * 4 * y))
        mix = 0.25 + 0.6 * np.clip(8 * (seams - 0.88), 0, 1) + 0.3 * (clouds - 0.5)
    return np.asarray(light + np.clip(mix, 0, 1)[..., None] * (dark - light), np.float32)


def _clouds(rng: np.random.Generator, width: int, height: int) -> Plane:
    """Smooth noise in 0..1: a coarse random grid, enlarged."""
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32) / np.float32(255)
