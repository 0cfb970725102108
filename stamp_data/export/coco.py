"""COCO instances JSON with what referring expressions need besides.

    <set>/annotations/instances_<split>.json
    <set>/images/<split>/KEY.jpg

`annotations` has one entry per mask that is not empty, with the expressions that ask for it alone in `expressions`, and one
with `iscrowd` 1 for what is to be ignored around a mask (`ignored_by` names the latter). `refs` has one entry per
dialogue, so that an expression without a target has its place, as have several masks in one answer and conversations:
`ann_ids` holds one annotation per `<|seg|>`, -1 for an empty mask; what is to be ignored around that is kept if the picture
has one such.
"""

from __future__ import annotations

from stamp_data import rle as rles
from stamp_data.export.base import PARTED, Format, JsonObject, Place, write_picture
from stamp_data.export.outline import polygons
from stamp_data.export.phrases import UNNAMED
from stamp_data.export.texts import requests_of
from stamp_data.shards.reader import Loaded
from stamp_schemas import RLE, Record

NO_TARGET = -1  # as in gRefCOCO


class Coco(Format):
    name = "coco"
    by_request = True
    notes = (
        "patch labels are left out: they follow from the masks",
        "questions and answers are kept in `refs`: `stamp-data build coco` draws them anew around the expressions",
        PARTED,
    )

    def begin(self, place: Place) -> None:
        manifest = place.manifest
        head: dict[str, object] = {
            "info": {"description": manifest.name, "url": manifest.homepage, "digest": manifest.digest},
            "licenses": [{"id": 1, "name": manifest.licence, "url": manifest.homepage}],
        }
        path = self.out / place.dataset / "annotations" / f"instances_{place.split}.json"
        self._file = JsonObject(path, head, ("images", "annotations", "refs"))
        self._pictures = self.out / place.dataset / "images" / place.split
        self._pictures.mkdir(parents=True)
        self._categories: dict[str, int] = {}
        self._images = self._annotations = self._refs = 0

    def add(self, loaded: Loaded) -> None:
        record, image_id = loaded.record, None
        if loaded.image is not None and record.image is not None:
            name = write_picture(loaded, self._pictures)
            self._images += 1
            image_id = self._images
            source = {"record": record.key, "source_id": record.source.image_id, "source_file": record.image.file_name}
            size = {"width": record.image.width, "height": record.image.height}
            self._file.append("images", {"id": image_id, "file_name": name, **size, **source})
        ids = self._write_targets(record, image_id)
        for dialogue in requests_of(record):
            self._refs += 1
            entry: dict[str, object] = {"ref_id": self._refs, "image_id": image_id, "record": record.key}
            entry |= {"ann_ids": [ids[index] for index in dialogue.targets], "dialogue": dialogue.id}
            self._file.append("refs", entry | {"expression": dialogue.expression, "messages": dialogue.messages})
        kept = self.counted(loaded) | {"targets": 0, "ignored": 0}  # which are counted as they are written
        self.tally.hold(**kept)

    def _write_targets(self, record: Record, image_id: int | None) -> list[int]:
        """Annotation id per target; targets are counted here."""
        expressions: dict[int, dict[str, None]] = {}
        for dialogue in requests_of(record):
            if len(dialogue.targets) == 1 and dialogue.expression:
                expressions.setdefault(dialogue.targets[0], {})[dialogue.expression] = None
        ids = []
        ignores = {
            target.ignore_rle.counts if target.ignore_rle else "" for target in record.targets if not target.area
        }
        for number, target in enumerate(record.targets):
            own, ignored = NO_TARGET, int(target.ignore_rle is not None)
            if target.area:
                named = {"expressions": list(expressions.get(number, {})), "target": target.id}
                more = {"instances": target.instances, "categories": target.categories}
                own = self._annotate(image_id, target.categories, target.rle, {**named, **more})
            if ignored and own == NO_TARGET and len(ignores) > 1:
                why = f"several empty masks with different regions around them are all {NO_TARGET}"
                self.tally.lose("ignored-per-empty-mask", "ignored", why, record.key)
                ignored = 0
            elif target.ignore_rle is not None:
                self._annotate(image_id, target.categories, target.ignore_rle, {"ignored_by": own, "target": target.id})
            ids.append(own)
            self.tally.hold(targets=1, ignored=ignored)
        return ids

    def _annotate(self, image_id: int | None, categories: list[str], mask: RLE, more: dict[str, object]) -> int:
        self._annotations += 1
        crowd = int("ignored_by" in more)
        name = categories[0] if categories else UNNAMED
        entry = {
            "id": self._annotations,
            "image_id": image_id,
            "category_id": self._categories.setdefault(name, len(self._categories) + 1),
            "segmentation": polygons(mask) if self.polygons and not crowd else mask,
            "area": rles.area(mask),
            "bbox": rles.bbox(mask),
            "iscrowd": crowd,
        }
        self._file.append("annotations", entry | more)
        return self._annotations

    def end(self) -> None:
        self._file.head["categories"] = [{"id": number, "name": name} for name, number in self._categories.items()]
        self._file.close()
