"""SA-Co's JSON, as SAM 3 reads it: an entry of `images` is a picture with one noun phrase, its annotations what that names.

    <set>/annotations/<split>.json
    <set>/images/<split>/KEY.jpg

Boxes and areas are shares of the picture, as there. An entry without annotations is a phrase that names nothing in the picture.
A mask of several things is said to hold all pixels of its phrase, and not to be one instance (`is_instance_exhaustive` 0).
SAM 3's evaluation wants a number for each phrase (`queried_category`).
"""

from __future__ import annotations

from stamp_data import rle as rles
from stamp_data.export.base import PARTED, STORED, JsonObject, Place, write_picture
from stamp_data.export.outline import polygons
from stamp_data.export.phrases import Page, PhraseFormat
from stamp_data.shards.reader import Loaded
from stamp_schemas import TargetInfo

CATEGORY = 1  # "object", the only one


class SACo(PhraseFormat):
    name = "saco"
    notes = (
        "questions and answers around the expressions are left out: `stamp-data build saco` draws them anew",
        "categories of targets are left out: all of SA-Co's are called object",
        STORED,
        PARTED,
    )
    place = "a noun phrase"
    ignores = False

    def begin(self, place: Place) -> None:
        self._split = place.split
        self._pictures = self.out / place.dataset / "images" / place.split
        self._pictures.mkdir(parents=True)
        head: dict[str, object] = {
            "info": {
                "description": place.manifest.name,
                "url": place.manifest.homepage,
                "version": place.manifest.digest,
            },
            "licenses": [{"id": 1, "name": place.manifest.licence}],
            "categories": [{"id": CATEGORY, "name": "object", "supercategory": "object"}],
        }
        path = self.out / place.dataset / "annotations" / f"{place.split}.json"
        self._file = JsonObject(path, head, ("images", "annotations"))
        self._queried: dict[str, int] = {}
        self._images = self._annotations = 0

    def write(self, page: Page, loaded: Loaded) -> None:
        name = write_picture(loaded, self._pictures)
        for number, phrases in page.named.items():
            for phrase in phrases:
                self._entry(page, name, phrase, page.targets[number])
        for phrase in page.nothing:
            self._entry(page, name, phrase, None)

    def _entry(self, page: Page, name: str, phrase: str, target: TargetInfo | None) -> None:
        self._images += 1
        width, height = page.image.width, page.image.height
        alone = int(target is None or len(target.instances) <= 1)
        image = {"id": self._images, "file_name": f"images/{self._split}/{name}", "text_input": phrase}
        size = {"width": width, "height": height}
        queried = {"queried_category": str(self._queried.setdefault(phrase, len(self._queried)))}
        self._file.append(
            "images", image | size | queried | {"is_instance_exhaustive": alone, "is_pixel_exhaustive": 1}
        )
        if target is None:
            return
        self._annotations += 1
        x, y, across, down = target.bbox
        entry = {
            "id": self._annotations,
            "image_id": self._images,
            "category_id": CATEGORY,
            "segmentation": polygons(target.rle) if self.polygons else target.rle,
            "area": rles.area(target.rle) / (width * height),
            "bbox": [x / width, y / height, across / width, down / height],
            "iscrowd": 0,
            "source": "manual",
            "target": target.id,
        }
        self._file.append("annotations", entry)

    def end(self) -> None:
        self._file.close()
