"""labelme: a JSON beside each picture, a shape per expression, the expression in its `description`.

    <set>/<split>/KEY.json, KEY.jpg

A shape has one text and one area; it stands for every pass over its expression. That an expression means nothing in the
picture is a flag of the picture, `no_target: EXPRESSION`. What is to be ignored is a shape labelled `__ignore__`, and can
only be kept where it is the same for every target of the picture.
"""

from __future__ import annotations

import base64

import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.export.base import PARTED, Place, write_picture
from stamp_data.export.outline import polygons
from stamp_data.export.phrases import Page, PhraseFormat, label
from stamp_data.pixels import encoded
from stamp_data.shards.reader import Loaded
from stamp_data.sources.phrases import IGNORE, NO_TARGET
from stamp_data.writing import json_text
from stamp_schemas import RLE

VERSION = "5.5.0"  # of labelme, whose files these are like


class LabelMe(PhraseFormat):
    name = "labelme"
    notes = (
        "questions and answers around the expressions are left out: `stamp-data build labelme` draws them anew",
        PARTED,
    )
    place = "a shape"
    upright = True
    reserved = ()

    def begin(self, place: Place) -> None:
        self._folder = self.out / place.dataset / place.split
        self._folder.mkdir(parents=True)

    def write(self, page: Page, loaded: Loaded) -> None:
        content: dict[str, object] = {
            "version": VERSION,
            "flags": {f"{NO_TARGET}: {phrase}": True for phrase in page.nothing},
            "shapes": self._shapes(page),
            "imagePath": write_picture(loaded, self._folder),
            "imageData": None,
            "imageHeight": page.image.height,
            "imageWidth": page.image.width,
        }
        (self._folder / f"{page.key}.json").write_bytes(json_text(content))

    def _shapes(self, page: Page) -> list[dict[str, object]]:
        shapes: list[dict[str, object]] = []
        for number, phrases in page.named.items():
            target = page.targets[number]
            for phrase in phrases:
                shapes += self._areas(target.rle, label(target), phrase, group=len(shapes))
        return shapes + (self._areas(page.ignored, IGNORE, "", group=-1) if page.ignored else [])

    def _areas(self, mask: RLE, label: str, description: str, group: int) -> list[dict[str, object]]:
        """Shapes of one mask; `group` joins them if it takes several."""
        common: dict[str, object] = {"label": label, "description": description, "flags": {}}
        if not self.polygons:
            return [common | {"shape_type": "mask", "group_id": None} | _cutout(mask)]
        rings = polygons(mask)
        joined = group if len(rings) > 1 else None
        return [
            common
            | {
                "shape_type": "polygon",
                "group_id": joined,
                "points": list(zip(ring[::2], ring[1::2], strict=True)),
                "mask": None,
            }
            for ring in rings
        ]


def _cutout(mask: RLE) -> dict[str, object]:
    """labelme's `mask` shape: corners of the mask's box (the second one inclusive), and its pixels as a base64 PNG."""
    x, y, width, height = (round(value) for value in rles.bbox(mask))
    pixels = rles.decode(mask)[y : y + height, x : x + width]
    png = encoded(Image.fromarray(np.ascontiguousarray(pixels * 255)).convert("1"))
    corners = [[x, y], [x + width - 1, y + height - 1]]
    return {"points": corners, "mask": base64.b64encode(png).decode()}
