"""CVAT's XML "for images": polygons, boxes, ellipses and masks, with their attributes.

A shape's phrases are its attributes whose names begin with `expression`, `phrase`, `caption`, `description` or `text`, else its
label. What names nothing in the picture is a tag of the picture called `no_target` with such attributes, or a shape whose
attribute `no_target` is true. Where pictures have a subset, it tells the split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats import outlines
from stamp_data.sources.formats.core import HEAD, TELLING, FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import OTHER_FORMAT, read_buffer
from stamp_data.sources.paths import WORD
from stamp_data.sources.phrases import NO_TARGET
from stamp_schemas import StampError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MARK = "<annotations"  # also of videos, which `read` refuses by name
_NO_AREA = ("polyline", "points", "cuboid", "skeleton")
_SHAPES = ("polygon", "box", "ellipse", "mask", "tag", *_NO_AREA)


class CVAT(FormatSource):
    dataset = "cvat"
    homepage = "https://www.cvat.ai"
    frame = "upright"
    format = "CVAT XML"
    suffixes = (".xml",)

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        data = read_buffer(path)
        return any(data.find(_MARK.encode(encoding), 0, HEAD) >= 0 for encoding in ("utf-8", "utf-16-le", "utf-16-be"))

    def read(self, path: Path) -> Element:
        from stamp_data.sources.formats.xml import load_xml  # most builds are of no XML

        tree = load_xml(path, self.reading.encoding)
        if tree.tag != "annotations":
            raise StampError(f"{path}: its outermost element is {tree.tag[:40]!r}, not 'annotations'", OTHER_FORMAT)
        if tree.find("track") is not None and tree.find("image") is None:
            raise StampError(f"{path}: tracks of a video", "in CVAT, export as `CVAT for images 1.1`")
        return tree

    def splits_in(self, document: Element) -> Iterator[str]:
        return (_split(image) for image in document.iterfind("image"))

    def pictures(self, document: Element, path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        for position, image in enumerate(document.iterfind("image")):
            record = f"image {image.get('id', position)}"
            try:
                width, height = numbers.whole(image.get("width")), numbers.whole(image.get("height"))
            except ValueError as fault:
                rejects.add(self.name_of(path), record, "bad-image", f"its size: {fault}")
                continue
            things = [
                _thing(shape, f"{record} {shape.tag}[{number}]", height, width)
                for number, shape in enumerate(image)
                if shape.tag in _SHAPES
            ]
            name, subset = image.get("name", ""), image.get("subset", "")
            names = [f"{subset}/{name}", name] if subset else [name]
            yield Pictured(record, names, [thing for thing in things if thing], width, height, split=_split(image))


def _split(image: Element) -> str:
    subset = image.get("subset", "")
    said = WORD.fullmatch(subset.lower())
    return said[1] if said else storable(subset)


def _thing(shape: Element, record: str, height: int, width: int) -> Thing | None:
    """What a shape says; None for a tag that is not about words."""
    said = [(one.get("name", ""), (one.text or "").strip()) for one in shape.iterfind("attribute")]
    label = shape.get("label", "").strip()
    texts = [text for name, text in said if name.lower().startswith(TELLING) and text]
    if shape.tag == "tag":
        return Thing(record, texts) if label == NO_TARGET else None
    phrases = texts or ([label] if label else [])
    if any(name == NO_TARGET and text.lower() == "true" for name, text in said):
        return Thing(record, phrases)
    thing = Thing(record, phrases, categories=[label] if label else [])
    try:
        thing.segmentation = _segmentation(shape, height, width)
    except ValueError as fault:  # a RecordFault is one
        thing.fault = fault if isinstance(fault, RecordFault) else RecordFault("bad-shape", f"{shape.tag}: {fault}")
    return thing


def _segmentation(shape: Element, height: int, width: int) -> msgspec.Raw:
    """ValueError or RecordFault for a shape that covers no area, or whose numbers are none."""
    if shape.tag in _NO_AREA:
        raise RecordFault("no-area", f"{shape.tag} {shape.get('label', '')[:40]!r}")
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        return outlines.polygon([(numbers.real(x), numbers.real(y)) for x, y in pairs])
    angle = numbers.real(shape.get("rotation", "0"))
    if shape.tag == "box":
        x0, y0, x1, y1 = (numbers.real(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        return outlines.centred_box(x0, y0, x1, y1, angle)
    if shape.tag == "ellipse":
        x, y, radius_x, radius_y = (numbers.real(shape.get(key)) for key in ("cx", "cy", "rx", "ry"))
        return outlines.ellipse(x, y, radius_x, radius_y, angle)
    return _mask(shape, height, width)


def _mask(shape: Element, height: int, width: int) -> msgspec.Raw:
    """A mask: runs along the rows of its own box, the first of them background."""
    import numpy as np  # which a listing of datasets does without

    from stamp_data.sources.formats import painted

    left, top, across, down = (numbers.whole(shape.get(key)) for key in ("left", "top", "width", "height"))
    painted.check_size(down, across)
    runs = [numbers.whole(run.strip()) for run in shape.get("rle", "").split(",")]
    if min(runs) < 0 or sum(runs) != down * across:
        raise RecordFault("bad-shape", f"the mask's runs fill {sum(runs):,} pixels, its box has {across}×{down}")
    part = np.repeat(np.arange(len(runs)) & 1, runs).astype(np.bool_).reshape(down, across)
    return painted.pasted(part, left, top, height, width)
