"""Small pictures and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_schemas.annotated import DrawnMask, ImageFile, SaidPhrase

WIDTH, HEIGHT = 64, 48


def image(path: str = "a.jpg") -> ImageFile:
    return ImageFile(path, WIDTH, HEIGHT)


def box(left: int, top: int, right: int, bottom: int) -> rle.RLE:
    """A mask of the pixels [left, right) × [top, bottom)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return rle.encode(mask)


def mask(name: str = "m1", edges: tuple[int, int, int, int] = (8, 8, 40, 32), **more: Any) -> DrawnMask:
    return DrawnMask(name, box(*edges), **more)


def said(name: str = "p1", text: str = "the red cup", masks: tuple[str, ...] = ("m1",), **more: Any) -> SaidPhrase:
    return SaidPhrase(name, text, list(masks), **more)


def drawn() -> Change:
    """A mask and an accepted phrase that names it."""
    return Change({"p1": said(status="accepted")}, {"m1": mask()})


def put_images(root: Path, *names: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 40 * number % 256, 120)).save(path)
    return root
