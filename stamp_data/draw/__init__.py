"""Pictures with masks over them: colours, outlines as SVG paths, overlays as pixels. Importing this costs nothing."""

from __future__ import annotations

from typing import Literal, get_args

Overlay = Literal["mask", "contour", "cutout", "grid28", "grid14", "diff", "none"]
"""grid28: merged patches shaded by coverage; grid14: the vision encoder's own, finer ones; diff: mask against patches."""

OVERLAYS: tuple[Overlay, ...] = get_args(Overlay)
