"""PASCAL-Part as VLPart converts it and LISA reads it: COCO's layout, with parts as categories, on pictures of VOC 2010.

The phrase of a category, `dog:head`, is `the head of the dog`, of all heads of dogs in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.formats.coco_like import CocoFile, CocoLike, Id, named, pages, phrases_of
from stamp_data.sources.formats.core import Pictured

FOLDER = "VOCdevkit/VOC2010/JPEGImages"  # of pictures, beside the file, as LISA has it


class _Image(msgspec.Struct):
    id: Id
    file_name: str
    width: int | None = None
    height: int | None = None


class PascalPart(CocoLike):
    dataset = "pascal_part"
    licence = "that of PASCAL-Part; pictures: PASCAL VOC 2010, under their Flickr licences"
    homepage = "https://roozbehm.info/pascal-parts/pascal-parts.html"
    format = "PASCAL-Part"
    usual_folders = (*CocoLike.usual_folders, FOLDER, "VOC2010/JPEGImages", "JPEGImages")
    marks = (b'"images"', b'"annotations"', b'"aeroplane:')

    def pictures(self, document: CocoFile, path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        name = self.name_of(path)
        phrases = phrases_of(document, name, rejects)
        for page in pages(document, _Image, name, rejects):
            image = page.image
            names = [f"{FOLDER}/{image.file_name}", image.file_name]
            yield Pictured(page.record, names, named(page, phrases), image.width or None, image.height or None)
