"""LVIS, and PACO on it: COCO's layout with pictures called by `coco_url`, and with what was looked for and is not there.

A category's phrase is its name with spaces for `_`; a part, `dog:head`, is `the head of the dog`. `neg_category_ids` name
nothing in the picture; `not_exhaustive_category_ids`, of which more is there than has masks, are left out with a row each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.coco_like import CocoFile, CocoLike, Id, Page, Phrases, named, pages, phrases_of
from stamp_data.sources.formats.core import Pictured, Thing


class _Image(msgspec.Struct):
    id: Id
    width: int | None = None
    height: int | None = None
    file_name: str = ""
    coco_url: str = ""
    neg_category_ids: list[Id] = []
    not_exhaustive_category_ids: list[Id] = []

    @property
    def name(self) -> str:
        """The picture's file: of COCO's splits, which LVIS mixes, the folder is known by the address alone."""
        return self.file_name or "/".join(self.coco_url.split("/")[-2:])


class LVIS(CocoLike):
    dataset = "lvis"
    licence = "CC BY 4.0 (LVIS); pictures under their Flickr licences"
    homepage = "https://www.lvisdataset.org"
    numbered = True
    format = "LVIS"
    usual_folders = (*CocoLike.usual_folders, "coco")
    marks = (b'"images"', b'"neg_category_ids"')

    def pictures(self, document: CocoFile, path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        name = self.name_of(path)
        phrases = phrases_of(document, name, rejects)
        for page in pages(document, _Image, name, rejects):
            image = page.image
            names = [image.name] if image.name else []
            identity = numbers.name(image.id)
            things = list(_said(page, phrases))
            yield Pictured(page.record, names, things, image.width or None, image.height or None, id=identity)


def _said(page: Page[_Image], phrases: Phrases) -> Iterator[Thing]:
    yield from named(page, phrases)
    if page.spoilt:
        return
    for category in page.image.not_exhaustive_category_ids:
        why = RecordFault("not-exhaustive", "not_exhaustive_category_ids names it")
        yield Thing(f"{page.record} not_exhaustive_category_ids", phrases.named(category), fault=why)
    for category in page.image.neg_category_ids:
        yield Thing(f"{page.record} neg_category_ids", phrases.named(category))
