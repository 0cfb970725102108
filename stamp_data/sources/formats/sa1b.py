"""SA-1B's layout: a JSON per picture with its masks as RLE, as SAM's own scripts write it.

SA-1B itself has no words. An annotation's phrases are its `expressions`, else its `expression`, `phrase`, `caption`, `text` or
`label`; with `"segmentation": []` or none they name nothing in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import OTHER_FORMAT, SMALL_LIMIT, decode_row, load_json, segmentation_or_none
from stamp_data.sources.rows import ABSENT
from stamp_schemas import StampError


class _Image(msgspec.Struct):
    file_name: str
    image_id: int | str | None = None
    width: int | None = None
    height: int | None = None


class _File(msgspec.Struct):
    image: _Image
    annotations: list[msgspec.Raw]


class _Annotation(msgspec.Struct):
    id: int | str | None = None
    segmentation: msgspec.Raw = ABSENT
    expressions: list[str] = []
    expression: str = ""
    phrase: str = ""
    caption: str = ""
    text: str = ""
    label: str = ""

    @property
    def phrases(self) -> list[str]:
        said = self.expression or self.phrase or self.caption or self.text or self.label
        return self.expressions or ([said] if said else [])


class SA1B(FormatSource):
    dataset = "sa1b"
    licence = "that of the data; SA-1B's own: SA-1B Dataset Research License"
    homepage = "https://ai.meta.com/datasets/segment-anything/"
    format = "SA-1B"
    marks = (b'"image"', b'"annotations"', b'"segmentation"')
    document = _File
    one_each = True

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        if not super().is_mine(path):
            return False
        try:
            return bool(load_json(path, _File, SMALL_LIMIT).image.file_name)
        except StampError as fault:
            if fault.hint == OTHER_FORMAT:
                return False
            raise

    def pictures(self, document: _File, path: Path, rejects: RejectLog) -> Iterator[Pictured]:  # noqa: ARG002 - each thing tells
        image = document.image
        things = [_thing(raw, f"annotations[{place}]") for place, raw in enumerate(document.annotations)]
        yield Pictured(path.stem, [image.file_name], things, image.width, image.height, id=self.name_of(path)[:-5])


def _thing(raw: msgspec.Raw, record: str) -> Thing:
    try:
        said = decode_row(raw, _Annotation, "bad-annotation")
    except RecordFault as fault:
        return Thing(record, [], fault=fault)
    instance = record if said.id is None else numbers.name(said.id)
    return Thing(record, said.phrases, instance=instance).take(segmentation_or_none, said.segmentation)
