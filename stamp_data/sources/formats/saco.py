"""SA-Co, as SAM 3 reads it: COCO JSON in which an `image` is a picture with one noun phrase, and its masks what that names.

The phrase is an image's `text_input` or `noun_phrase`, or an annotation's own `noun_phrase`. An image without annotations says
that its phrase names nothing in the picture; one that says that its masks are not all there is loses its phrase. Boxes and
areas, which are parts of the picture there, are not read. Files of several annotators (`gold_…_a.json`, `…_b.json`) are splits
of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.coco_like import CocoFile, CocoLike, Id, Page, holds, pages
from stamp_data.sources.formats.core import Pictured, Thing
from stamp_data.sources.paths import WORD


class _Image(msgspec.Struct):
    id: Id
    file_name: str
    text_input: str | None = None
    noun_phrase: str | None = None
    width: int | None = None
    height: int | None = None
    is_instance_exhaustive: bool | int | None = None
    is_pixel_exhaustive: bool | int | None = None

    @property
    def phrases(self) -> list[str]:
        said = self.text_input or self.noun_phrase
        return [said] if said else []

    @property
    def lacks(self) -> bool:
        """Whether more of the picture is of its phrase than the masks say."""
        told = [said for said in (self.is_pixel_exhaustive, self.is_instance_exhaustive) if said is not None]
        return bool(told) and not any(told)


class SACo(CocoLike):
    dataset = "saco"
    licence = "SAM License, for SA-Co's own files"
    homepage = "https://github.com/facebookresearch/sam3"
    format = "SA-Co (SAM 3)"
    marks = (b'"images"', b'"file_name"')

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        return any(holds(path, (*cls.marks, phrase)) for phrase in (b'"text_input"', b'"noun_phrase"'))

    def split_of(self, path: Path) -> str:
        if len(self.documents) > 1:
            return storable(path.stem)
        said = WORD.search(path.stem)
        return said[1] if said else "train"

    def pictures(self, document: CocoFile, path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        for page in pages(document, _Image, self.name_of(path), rejects):
            image = page.image
            yield Pictured(page.record, [image.file_name], _said(page), image.width or None, image.height or None)


def _said(page: Page[_Image]) -> list[Thing]:
    """What an entry says, all of it under its phrase."""
    image = page.image
    if page.spoilt or image.lacks:
        why = page.spoilt or RecordFault("not-exhaustive", "the file says that it names more than its masks show")
        return [Thing(page.record, image.phrases, fault=why)]
    for row, thing in page.entries:
        thing.phrases = [row.noun_phrase] if row.noun_phrase else image.phrases
        thing.instance = row.target if isinstance(row.target, str) else thing.instance
    return [thing for _, thing in page.entries] or [Thing(page.record, image.phrases)]
