"""VGG Image Annotator: projects of VIA 1, 2 and 3, and the annotations of the first two as JSON and as CSV.

A region's phrases are its attributes whose names begin with `expression`, `phrase`, `caption`, `description` or `text`, else
those called `name`, `label`, `class`, `category` or `type`, else its only attribute. What names nothing in the picture is a
file attribute called `no_target` (several phrases with `;` between them). Sizes are those of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats import outlines, via3
from stamp_data.sources.formats.core import HEAD, TELLING, FormatSource, Pictured, Thing
from stamp_data.sources.formats.tables import header, rows
from stamp_data.sources.jsonfile import OTHER_FORMAT, decode_row, decode_rows, load_json, read_buffer
from stamp_data.sources.phrases import NO_TARGET
from stamp_schemas import StampError

_NAMING = ("name", "label", "class", "category", "type")
_NO_AREA = ("point", "polyline", "line")
_CSV = ("filename", "region_shape_attributes", "region_attributes")
_Words = dict[str, object]


class _Region(msgspec.Struct):
    shape_attributes: msgspec.Raw
    region_attributes: _Words = {}


class VIA(FormatSource):
    dataset = "via"
    homepage = "https://www.robots.ox.ac.uk/~vgg/software/via/"
    frame = "upright"
    format = "VIA"
    suffixes = (".json", ".csv")
    marks = (b'"shape_attributes"', b'"filename"')

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        if path.suffix.lower() == ".csv":
            return set(_CSV) <= set(header(path))
        return super().is_mine(path) or all(read_buffer(path).find(mark, 0, HEAD) >= 0 for mark in via3.MARKS)

    def read(self, path: Path) -> list[tuple[str, msgspec.Raw]] | via3.Project:
        """(place, entry of a picture) of all; of a CSV, of every row; a project of VIA 3 as it is."""
        encoding = self.reading.encoding
        if path.suffix.lower() == ".csv":
            return list(_rows(path, encoding))
        held = load_json(path, dict[str, msgspec.Raw], encoding=encoding)
        if {"metadata", "view"} <= held.keys():
            return load_json(path, via3.Project, encoding=encoding)
        if "_via_img_metadata" in held:
            try:
                held = decode_row(held["_via_img_metadata"], dict[str, msgspec.Raw], "bad-annotation")
            except RecordFault as fault:
                raise StampError(f"{path}: _via_img_metadata: {fault.detail}", OTHER_FORMAT) from None
        return list(held.items())

    def pictures(
        self, document: list[tuple[str, msgspec.Raw]] | via3.Project, path: Path, rejects: RejectLog
    ) -> Iterator[Pictured]:
        name = self.name_of(path)
        if isinstance(document, via3.Project):
            entries = via3.entries(document, name, rejects)
        else:
            entries = decode_rows(document, via3.Entry, "bad-annotation", name, rejects)
        for record, entry in entries:
            regions = entry.regions if isinstance(entry.regions, dict) else dict(enumerate(entry.regions))
            things = [_thing(one, f"{record} regions[{key}]") for key, one in regions.items()]
            nothing = [text.strip() for text in _texts(entry.file_attributes.get(NO_TARGET)) if text.strip()]
            if nothing:
                things.append(Thing(f"{record} file_attributes", nothing))
            yield Pictured(record, _called(entry.names or [entry.filename]), things)


def _called(names: list[str]) -> list[str]:
    """What a picture may be called here: of an address, the name at its end."""
    bases: list[str] = []
    for name in names:
        with suppress(ValueError):  # an address that is none
            bases += [urlsplit(name).path.rpartition("/")[2]] if "://" in name else []
    return [name for name in dict.fromkeys([*names, *map(unquote, bases)]) if name]


def _rows(path: Path, encoding: str) -> Iterator[tuple[str, msgspec.Raw]]:
    """Rows of a CSV, each as the entry that the JSON would have for it."""
    for record, row in rows(path, encoding):
        shape, words, said = (
            msgspec.Raw((row.get(name) or "{}").encode())
            for name in ("region_shape_attributes", "region_attributes", "file_attributes")
        )
        regions = [{"shape_attributes": shape, "region_attributes": words}] if bytes(shape).strip() != b"{}" else []
        entry = {"filename": row.get("filename"), "file_attributes": said, "regions": regions}
        yield record, msgspec.Raw(msgspec.json.encode(entry))


def _thing(raw: msgspec.Raw, record: str) -> Thing:
    try:
        region = decode_row(raw, _Region, "bad-annotation")
    except RecordFault as fault:
        return Thing(record, [], fault=fault)
    phrases = _phrases(region.region_attributes)
    return Thing(record, phrases, categories=phrases[:1]).take(_segmentation, region.shape_attributes)


def _phrases(words: _Words) -> list[str]:
    for names in (TELLING, _NAMING):
        told = [text for key, value in words.items() if key.lower().startswith(names) for text in _texts(value)]
        if told:
            return told
    return _texts(next(iter(words.values()))) if len(words) == 1 else []


def _texts(value: object) -> list[str]:
    """A text or several, or the choices that are ticked."""
    if isinstance(value, str):
        return [text for text in (part.strip() for part in value.split(";")) if text]
    if isinstance(value, dict):
        return [str(key) for key, ticked in value.items() if ticked is True]
    return []


def _segmentation(raw: msgspec.Raw) -> msgspec.Raw:
    shape = decode_row(raw, via3.Shape, "bad-shape")
    if shape.name in _NO_AREA:
        raise RecordFault("no-area", f"a {shape.name}")
    if shape.name in ("polygon", "polyshape"):
        if len(shape.all_points_x) != len(shape.all_points_y):
            raise RecordFault("bad-shape", f"{len(shape.all_points_x)} x and {len(shape.all_points_y)} y")
        return outlines.polygon(list(zip(shape.all_points_x, shape.all_points_y, strict=True)))
    if shape.name == "rect":
        return outlines.box(shape.x, shape.y, shape.width, shape.height)
    if shape.name == "circle":
        return outlines.ellipse(shape.cx, shape.cy, shape.r, shape.r)
    if shape.name == "ellipse":
        return outlines.ellipse(shape.cx, shape.cy, shape.rx, shape.ry, math.degrees(shape.theta))
    raise RecordFault("bad-shape", f"shape {shape.name[:40]!r} is unknown")
