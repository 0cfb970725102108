"""COCO annotations of rendered scenes: the visible part of every thing, as polygons where these can say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stamp_data import rle as rles
from stamp_data.synth.plan import Slot
from stamp_data.synth.render import Plane
from stamp_data.synth.scene import Scene
from stamp_data.synth.shapes import SHAPES

Json = dict[str, Any]

_CATEGORY_IDS = {shape: number for number, shape in enumerate(SHAPES, start=1)}
_FIRST_ANNOTATION = 1_000_000
_ANNOTATIONS_PER_IMAGE = 10  # more than a scene holds; keeps the identifiers of one picture apart from the next one's


@dataclass(frozen=True)
class Entry:
    """A finished picture: where it is, what is in it, and one COCO annotation per thing, in the scene's order."""

    slot: Slot
    scene: Scene
    annotations: tuple[Json, ...]


def annotate(slot: Slot, scene: Scene, shown: tuple[Plane, ...]) -> tuple[Json, ...]:
    """COCO annotations; `shown` is what the renderer put into each pixel, and settles the masks with holes."""
    return tuple(
        {
            "segmentation": (
                _rle_list(plane, number)
                if slot.family == "refclef"
                else _segmentation(thing.visible, plane, compressed=number % 2 == 0)
            ),
            "area": round(thing.area, 4),
            "iscrowd": 0,
            "image_id": slot.image_id,
            "bbox": _bbox(thing.visible),
            "category_id": _CATEGORY_IDS[thing.shape],
            "id": _FIRST_ANNOTATION + _ANNOTATIONS_PER_IMAGE * slot.index + number,
        }
        for number, (thing, plane) in enumerate(zip(scene.things, shown, strict=True))
    )


def parts(geometry: Any) -> list[Any]:
    """The polygons of a geometry, largest first, crumbs of under a pixel left out."""
    polygons = [g for g in getattr(geometry, "geoms", [geometry]) if g.geom_type == "Polygon"]
    return [p for p in sorted(polygons, key=lambda p: -p.area) if p.area >= 1 or p is polygons[0]]


def _segmentation(visible: Any, plane: Plane, compressed: bool) -> list[list[float]] | Json:
    """Polygons [[x, y, x, y, ...], ...]; run lengths, as text or plain counts, where there is a hole, which they cannot say."""
    polygons = parts(visible)
    if not any(polygon.interiors for polygon in polygons):
        return [np.round(np.asarray(p.exterior.coords)[:-1, :2], 2).ravel().tolist() for p in polygons]
    return _rle(np.asfortranarray(plane >= 0.5, dtype=np.uint8), compressed)


def _rle_list(plane: Plane, number: int) -> list[Json]:
    """A list of run lengths whose union is meant, as RefCLEF has every mask; of every third thing in two parts."""
    mask = np.asfortranarray(plane >= 0.5, dtype=np.uint8)
    upper, lower = mask.copy(order="F"), mask.copy(order="F")
    middle = int(np.median(mask.nonzero()[0])) if mask.any() else 0
    upper[middle:], lower[:middle] = 0, 0
    shown = [part for part in (upper, lower) if part.any()] if number % 3 == 0 else [mask]
    return [_rle(part, compressed=number % 2 == 0) for part in shown]


def _rle(mask: npt.NDArray[np.uint8], compressed: bool) -> Json:
    packed = rles.encode(mask)
    return {"size": packed.size, "counts": packed.counts if compressed else rles.runs(packed.counts).tolist()}


def _bbox(geometry: Any) -> list[float]:
    left, top, right, bottom = geometry.bounds
    return [round(left, 2), round(top, 2), round(right - left, 2), round(bottom - top, 2)]


def write_instances(path: Path, entries: list[Entry], name: str, folder: str) -> None:
    """An instances file of the set `name`. `folder` is the one that image file names are relative to."""
    held = {
        "info": {
            "description": f"Rendered scenes in the format of {name}",
            "url": "",
            "version": "1.0",
            "year": 2014,
            "contributor": "stamp-data synth",
            "date_created": "2014-01-01 00:00:00",
        },
        "images": [_image(entry, folder) for entry in entries],
        "licenses": [{"url": "https://creativecommons.org/publicdomain/zero/1.0/", "id": 1, "name": "CC0 1.0"}],
        "annotations": [annotation for entry in entries for annotation in entry.annotations],
        "categories": [
            {"supercategory": SHAPES[shape].family, "id": number, "name": shape}
            for shape, number in _CATEGORY_IDS.items()
        ],
    }
    path.write_text(json.dumps(held), encoding="utf-8")


def _image(entry: Entry, folder: str) -> Json:
    return {
        "license": 1,
        "file_name": entry.slot.path.removeprefix(f"{folder}/"),
        "coco_url": "",
        "height": entry.scene.height,
        "width": entry.scene.width,
        "date_captured": "2014-01-01 00:00:00",
        "flickr_url": "",
        "id": entry.slot.image_id,
    }
