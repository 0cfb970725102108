"""Sa2VA's JSON for fine-tuning: a list of pictures, each with texts and, for each text, the polygons of what it names.

`[{"image": …, "mask": [[polygon, …], …], "text": […]}]`. In place of the polygons of a text there may be an RLE; an empty list
says that the text names nothing in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import OTHER_FORMAT, decode_row, decode_rows, load_json, segmentation_or_none
from stamp_schemas import StampError


class _Entry(msgspec.Struct):
    image: str
    mask: list[msgspec.Raw]
    text: list[msgspec.Raw]


_TEXTS: Any = str | list[str]


class Sa2VA(FormatSource):
    dataset = "sa2va"
    homepage = "https://github.com/bytedance/Sa2VA"
    frame = "unsure"
    format = "Sa2VA JSON"
    marks = (b'"mask"', b'"text"', b'"image"')

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        if not super().is_mine(path):
            return False
        try:
            first = load_json(path, list[msgspec.Raw])[:1]
            return bool([decode_row(raw, _Entry, "bad-annotation") for raw in first])
        except RecordFault:
            return False
        except StampError as fault:
            if fault.hint == OTHER_FORMAT:
                return False
            raise

    def pictures(self, document: list[msgspec.Raw], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        name = self.name_of(path)
        rows = ((f"[{position}]", raw) for position, raw in enumerate(document))
        for record, entry in decode_rows(rows, _Entry, "bad-annotation", name, rejects):
            if len(entry.mask) != len(entry.text):
                detail = f"{len(entry.mask)} masks for {len(entry.text)} texts"
                rejects.add(name, record, "bad-annotation", detail)
                continue
            pairs = enumerate(zip(entry.text, entry.mask, strict=True))
            things = [_thing(f"{record} text[{place}]", text, mask) for place, (text, mask) in pairs]
            yield Pictured(record, [entry.image], things)


def _thing(record: str, text: msgspec.Raw, mask: msgspec.Raw) -> Thing:
    try:
        said = decode_row(text, _TEXTS, "bad-sentence")
    except RecordFault as fault:
        return Thing(record, [], fault=fault)
    return Thing(record, [said] if isinstance(said, str) else said).take(segmentation_or_none, mask)
