"""The layout that the published training code reads: a JSON list per split, pictures, and a PNG per mask.

    <set>/<split>.json             one item per dialogue, hence per expression and pass
    <set>/<split>/images/KEY.jpg   the original bytes
    <set>/<split>/masks/KEY-0.png  mask of target 0 at full size, 0 or 255

An item's `messages`, `images` and `masks` are what a vision-language fine-tuning dataset holds; `question` and `answer` are
the same texts once more, for programs that know one round only; an item that was joined of several requests has the
`expressions` of all. Paths are relative to the exported folder.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from PIL import Image

from stamp_data import rle as rles
from stamp_data.export.base import STORED, Format, JsonList, Place, write_picture
from stamp_data.export.texts import single_round
from stamp_data.pixels import encoded
from stamp_data.shards.reader import Loaded
from stamp_schemas import RLE, Dialogue


class JsonPng(Format):
    name = "json-png"
    notes = ("ids, instances and categories of targets are left out: the layout names targets by their files", STORED)

    def begin(self, place: Place) -> None:
        self._folder = f"{place.dataset}/{place.split}"
        (self.out / self._folder / "images").mkdir(parents=True)
        (self.out / self._folder / "masks").mkdir()
        self._items = JsonList(self.out / f"{self._folder}.json")

    def add(self, loaded: Loaded) -> None:
        record, image = loaded.record, ""
        if loaded.image is not None:
            folder = f"{self._folder}/images"
            image = f"{folder}/{write_picture(loaded, self.out / folder)}"
        masks = [f"{self._folder}/masks/{record.key}-{number}.png" for number in range(len(record.targets))]
        for path, target in zip(masks, record.targets, strict=True):
            write_mask(self.out / path, target.rle)
            if target.ignore_rle is not None:
                why = "a mask of 0 and 255 has no third value"
                self.tally.lose("ignored-regions", "ignored", why, record.key)
        for dialogue in record.dialogues:
            self._items.append(_item(record.key, dialogue, image, masks))
        self.tally.hold(**(self.counted(loaded) | {"ignored": 0}))

    def end(self) -> None:
        self._items.close()


def _item(key: str, dialogue: Dialogue, image: str, masks: list[str]) -> dict[str, object]:
    item: dict[str, object] = {
        "id": f"{key}/{dialogue.id}",
        "images": [image] if image else [],
        "masks": [masks[index] for index in dialogue.targets],
        "expression": dialogue.expression,
        "messages": dialogue.messages,
    }
    if dialogue.rounds is not msgspec.UNSET:
        item["expressions"] = dialogue.expressions
    texts = single_round(dialogue)
    if texts is not None:
        item["question"], item["answer"] = texts
    return item


def write_mask(path: Path, mask: RLE) -> None:
    """PNG of a mask at full size, 0 and 255."""
    path.write_bytes(encoded(Image.fromarray(rles.decode(mask) * 255)))
