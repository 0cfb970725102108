"""Projects of VIA 3, as the entries that VIA 2 would have for them.

A project holds files, views (of one picture each, where pictures are annotated), attributes, and `metadata`: pieces that say
something of a view, of a region if they have a shape, of the whole picture if not. `xy` is the kind of a shape and its
coordinates in pixels; `av` the values of attributes by their ids: texts, or the ids of what was chosen, with commas between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import decode_row

MARKS = (b'"metadata"', b'"view"', b'"fid_list"', b'"xy"')
_PICTURE = 2  # kind of a file; others are films and sounds
_CHOSEN = (2, 3, 4)  # kinds of attributes: ticked, one of several, one of a list
_POINT, _BOX, _CIRCLE, _ELLIPSE, _LINE, _LINES, _POLYGON, _BOX_BY_EDGES, _CIRCLE_BY_RIM = range(1, 10)
_LENGTHS = {_BOX: 4, _CIRCLE: 3, _ELLIPSE: 4, _BOX_BY_EDGES: 8, _CIRCLE_BY_RIM: 6}
_NO_AREA = {_POINT: "point", _LINE: "line", _LINES: "polyline"}


class _Shown(msgspec.Struct):
    fname: str = ""
    src: str = ""
    type: int = _PICTURE


class _View(msgspec.Struct):
    fid_list: list[int | str]


class _Attribute(msgspec.Struct):
    aname: str
    type: int = 1
    options: dict[str, str] = {}


class Project(msgspec.Struct):
    """A file of VIA 3; everything by its id."""

    file: dict[str, msgspec.Raw]
    view: dict[str, msgspec.Raw]
    metadata: dict[str, msgspec.Raw]
    attribute: dict[str, msgspec.Raw] = {}


class _Piece(msgspec.Struct):
    vid: str | int
    xy: list[float] = []
    av: dict[str, str] = {}


class Shape(msgspec.Struct, omit_defaults=True):
    """`shape_attributes` of VIA 2."""

    name: str
    all_points_x: list[float] = []
    all_points_y: list[float] = []
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    cx: float = 0.0
    cy: float = 0.0
    r: float = 0.0
    rx: float = 0.0
    ry: float = 0.0
    theta: float = 0.0


class Entry(msgspec.Struct):
    """An entry of VIA 2. names: of VIA 3, what the picture may be called, `filename` the first of them."""

    filename: str
    names: list[str] = []
    regions: list[msgspec.Raw] | dict[str, msgspec.Raw] = []
    file_attributes: dict[str, object] = {}


def entries(project: Project, name: str, rejects: RejectLog) -> Iterator[tuple[str, Entry]]:
    """(place, entry) of every view; what is of no picture becomes a row. name: how rows call the file."""
    found: dict[str, Entry] = {}
    for key, raw in project.view.items():
        try:
            found[key] = _entry(decode_row(raw, _View, "bad-annotation"), project)
        except RecordFault as fault:
            rejects.add(name, f"view {key}", fault.reason, fault.detail)
    attributes = dict(_attributes(project, name, rejects))
    for key, raw in project.metadata.items():
        try:
            piece = decode_row(raw, _Piece, "bad-annotation")
            if str(piece.vid) not in found:
                raise RecordFault("image-missing", f"its view {str(piece.vid)[:40]!r} is not there, or cannot be used")
            _add(found[str(piece.vid)], key, piece, attributes)
        except RecordFault as fault:
            rejects.add(name, f"metadata {key}", fault.reason, fault.detail)
    yield from ((f"view {key}", entry) for key, entry in found.items())


def _entry(view: _View, project: Project) -> Entry:
    if len(view.fid_list) != 1:
        raise RecordFault("bad-annotation", f"a view of {len(view.fid_list)} files; it takes one picture")
    key = str(view.fid_list[0])
    if key not in project.file:
        raise RecordFault("image-missing", f"file {key[:40]!r} is not there")
    shown = decode_row(project.file[key], _Shown, "bad-image")
    if shown.type != _PICTURE:
        raise RecordFault("other-media", f"{shown.fname[:99]!r} is a film or a sound")
    source = "" if shown.src.startswith("data:") else shown.src
    names = [name for name in (source, shown.fname) if name]
    return Entry(names[0] if names else "", names, {})


def _attributes(project: Project, name: str, rejects: RejectLog) -> Iterator[tuple[str, _Attribute]]:
    for key, raw in project.attribute.items():
        try:
            yield key, decode_row(raw, _Attribute, "bad-annotation")
        except RecordFault as fault:
            rejects.add(name, f"attribute {key}", fault.reason, fault.detail)


def _add(entry: Entry, key: str, piece: _Piece, attributes: dict[str, _Attribute]) -> None:
    """Put a piece into the entry of its view."""
    said: dict[str, object] = {} if piece.xy else entry.file_attributes
    for identity, value in piece.av.items():
        attribute = attributes.get(identity)
        if attribute and (text := _text(attribute, value)):
            before = said.get(attribute.aname)  # names are not unique, and pieces of one picture have the same
            said[attribute.aname] = f"{before};{text}" if before else text
    if piece.xy:
        assert isinstance(entry.regions, dict), "as `_entry` made it"
        region = {"shape_attributes": _shape(piece.xy), "region_attributes": said}
        entry.regions[key] = msgspec.Raw(msgspec.json.encode(region))


def _text(attribute: _Attribute, value: str) -> str:
    """What is written in an attribute, or what was chosen, with `;` between them."""
    if attribute.type not in _CHOSEN:
        return value
    return ";".join(attribute.options.get(one, one) for one in value.split(",") if one)


def _shape(xy: list[float]) -> Shape:
    """A shape of VIA 2; one that is of no known kind, or lacks numbers, has a name that says so."""
    kind, flat = int(xy[0]) if math.isfinite(xy[0]) else 0, xy[1:]
    if kind in _NO_AREA:
        return Shape(_NO_AREA[kind])
    if kind == _POLYGON and len(flat) % 2 == 0:
        return Shape("polygon", all_points_x=flat[::2], all_points_y=flat[1::2])
    if kind not in _LENGTHS or len(flat) != _LENGTHS[kind]:
        return Shape(f"{xy[0]:g} of {len(flat)} numbers")
    if kind == _CIRCLE:
        return Shape("circle", cx=flat[0], cy=flat[1], r=flat[2])
    if kind == _ELLIPSE:
        return Shape("ellipse", cx=flat[0], cy=flat[1], rx=flat[2], ry=flat[3])
    if kind == _CIRCLE_BY_RIM:
        return _circle_through(*flat)
    x, y = (flat[0], flat[1]) if kind == _BOX else (min(flat[::2]), min(flat[1::2]))
    width, height = flat[2:] if kind == _BOX else (max(flat[::2]) - x, max(flat[1::2]) - y)
    return Shape("rect", x=x, y=y, width=width, height=height)


def _circle_through(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> Shape:
    """The circle on whose rim three points lie, by the perpendicular bisectors of its chords."""
    bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
    twice = 2 * (bx * cy - by * cx)
    if not twice or not math.isfinite(twice):
        return Shape("circle through points of one line")
    b, c = bx * bx + by * by, cx * cx + cy * cy
    x, y = (cy * b - by * c) / twice, (bx * c - cx * b) / twice
    return Shape("circle", cx=ax + x, cy=ay + y, r=math.hypot(x, y))
