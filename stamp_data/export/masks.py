"""Masks as PNG with a table of phrases in JSON lines, a row per mask.

    <set>/<split>.jsonl                  {"image", "mask", "phrase", "split"}
    <set>/images/<split>/KEY.jpg         the original bytes
    <set>/masks/<split>/KEY-0.png        0 or 255, of the picture's size

`mask` is empty in the row of the phrases that name nothing in their picture, and the phrase `__ignore__` is what counts neither
for nor against any other. Paths are relative to the set's folder.
"""

from __future__ import annotations

import msgspec

from stamp_data.export.base import PARTED, STORED, Place, write_picture
from stamp_data.export.json_png import write_mask
from stamp_data.export.phrases import Page, PhraseFormat
from stamp_data.shards.reader import Loaded
from stamp_data.sources.phrases import IGNORE
from stamp_schemas import RLE


class Masks(PhraseFormat):
    name = "masks"
    notes = (
        "questions and answers around the expressions are left out: `stamp-data build masks` draws them anew",
        "categories of targets are left out: a row has phrases",
        STORED,
        PARTED,
    )
    place = "a row"

    def begin(self, place: Place) -> None:
        self._folder, self._split = self.out / place.dataset, place.split
        for name in ("images", "masks"):
            (self._folder / name / place.split).mkdir(parents=True)
        self._table = self._folder / f"{place.split}.jsonl"
        self._file = self._table.open("wb")

    def write(self, page: Page, loaded: Loaded) -> None:
        folder = f"images/{self._split}"
        image = f"{folder}/{write_picture(loaded, self._folder / folder)}"
        for number, phrases in page.named.items():
            self._row(image, self._mask(page.targets[number].rle, f"{page.key}-{number}"), phrases)
        if page.nothing:
            self._row(image, "", page.nothing)
        if page.ignored:
            self._row(image, self._mask(page.ignored, f"{page.key}-ignore"), [IGNORE])

    def _mask(self, mask: RLE, name: str) -> str:
        path = f"masks/{self._split}/{name}.png"
        write_mask(self._folder / path, mask)
        return path

    def _row(self, image: str, mask: str, phrases: list[str]) -> None:
        row = {"image": image, "mask": mask, "phrase": phrases, "split": self._split}
        self._file.write(msgspec.json.encode(row) + b"\n")

    def end(self) -> None:
        """A table without a row would be none."""
        self._file.close()
        if not self._table.stat().st_size:
            self._table.unlink()
