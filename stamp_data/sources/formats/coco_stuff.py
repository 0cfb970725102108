"""COCO-Stuff's maps of classes, one PNG per picture of COCO 2017: pixels 0 to 181, 255 where nothing is said.

`stuffthingmaps/train2017/*.png`, as downloaded, or `cocostuff/train2017/*.png`, as LISA has them. As LISA does, classes whose
names have a hyphen (`floor-wood`, `water-other`) are passed over: they are no words that anybody says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from stamp_data.sources.formats.semantic import SemanticSource, class_names
from stamp_data.sources.paths import relative

_MAP = re.compile(r"\d{12}\.png")
_FOLDER = re.compile(r"(train|val)2017")


class COCOStuff(SemanticSource):
    dataset = "coco_stuff"
    licence = "CC BY 4.0 (COCO-Stuff); pictures under their Flickr licences"
    homepage = "https://github.com/nightrome/cocostuff"
    format = "COCO-Stuff's PNGs"
    hint = "it takes train2017/*.png and val2017/*.png of stuffthingmaps_trainval2017.zip"

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        return bool(_MAP.fullmatch(path.name) and _FOLDER.fullmatch(path.parent.name))

    @cached_property
    def classes(self) -> Mapping[int, str | None]:
        return {value: None if "-" in name else name for value, name in class_names("coco_stuff").items()}

    def picture_names(self, path: Path) -> list[str]:
        """Beside the map, or in COCO's own folder: below `coco` or `images`, or in the root."""
        beside = relative(path.with_suffix(".jpg"), self.root)
        inner = f"{path.parent.name}/{path.stem}.jpg"
        return list(dict.fromkeys([beside, inner, f"coco/{inner}", f"images/{inner}"]))
