"""What one labelme file says: its shapes as regions, and the phrases that name them.

Phrases are a shape's `description`, else its `label`. Shapes of one `group_id` and label are one instance with the
descriptions of all; so are shapes of one label and the very same area, which bear a phrase each; all instances of
a picture that share a phrase form one target, since the phrase names them all. Lines and points cover no area and are
refused. What is labelled `__ignore__`, labelme's own word for it, counts neither for nor against any target of its picture.

That a phrase names nothing in the picture is said by a flag: `no_target` of a shape, of whatever kind, that bears the
phrase; or `no_target: PHRASE` of the picture.
"""

from __future__ import annotations

import msgspec

from stamp_data import numbers
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import decode_row
from stamp_data.sources.phrases import IGNORE, NO_TARGET, Naming
from stamp_schemas import Region
from stamp_schemas.annotation import Where

NO_AREA = ("line", "linestrip", "point", "points")


class _Labelled(msgspec.Struct):
    label: str


class _Described(_Labelled):
    shape_type: str | None = "polygon"
    group_id: float | str | None = None
    description: str | None = None
    mask: str | None = None
    flags: dict[str, object] | None = None

    @property
    def kind(self) -> str:
        """Null is a polygon, as in labelme itself."""
        return "polygon" if self.shape_type is None else self.shape_type

    @property
    def is_nothing(self) -> bool:
        return (self.flags or {}).get(NO_TARGET) is True


class _Shape(_Described, kw_only=True):
    points: list[tuple[float, float]]


class _LooseShape(_Described):
    points: msgspec.Raw = msgspec.Raw(b"null")


class LabelmeFile(msgspec.Struct):
    """One file. shapes: each decoded by itself, so that a damaged one costs nothing else."""

    shapes: list[msgspec.Raw]
    image_path: str = msgspec.field(name="imagePath", default="")
    image_data: msgspec.Raw = msgspec.field(name="imageData", default=msgspec.Raw())
    flags: dict[str, object] | None = None
    said_height: float | str | None = msgspec.field(name="imageHeight", default=None)
    said_width: float | str | None = msgspec.field(name="imageWidth", default=None)

    @property
    def has_picture(self) -> bool:
        data = memoryview(self.image_data)
        return len(data) > 2 and data[0] == ord('"')

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width in pixels, as the annotation says, None where it does not; RecordFault `bad-image` if it is none."""
        try:
            height, width = (
                None if said is None else numbers.whole(said) for said in (self.said_height, self.said_width)
            )
        except ValueError:
            height, width = -1, -1
        if height == width == 0:  # of tools that never opened the picture
            return None, None
        if (height is not None and height <= 0) or (width is not None and width <= 0):
            size = f"{str(self.said_width)[:20]}×{str(self.said_height)[:20]}"
            raise RecordFault("bad-image", f"the picture is said to have {size} pixels")
        return height, width


_Member = tuple[int, _Shape, RecordFault | None]


def name_shapes(file: LabelmeFile, naming: Naming) -> None:
    """Give every instance to its phrase, which is lost if any shape of it is unusable: the mask would lack it."""
    for flag, is_set in (file.flags or {}).items():
        kind, colon, phrase = flag.partition(":")
        if is_set is True and colon and kind.strip() == NO_TARGET:
            naming.add_nothing(naming.clean([phrase], "flags"), "flags")
    twins: dict[object, str] = {}
    for key, members in _instances(file, naming).items():
        label = members[0][1].label
        if label.strip() == IGNORE:
            for region in _regions(members, file, naming, []):
                naming.ignore_everywhere(msgspec.structs.replace(region, role="ignore"))
            continue
        said = dict.fromkeys(text for _, shape, _ in members if (text := (shape.description or "").strip()))
        phrases = naming.clean(list(said) or [label], _record(members[0][0]))
        if any(shape.is_nothing for _, shape, _ in members):
            naming.add_nothing(phrases, _record(members[0][0]))
            continue
        regions = _regions(members, file, naming, phrases)
        if len(regions) == len(members):
            area = (label, *((shape.kind, *shape.points, shape.mask) for _, shape, _ in members))
            naming.add(phrases, regions, twins.setdefault(area, key), [label.strip()])


def _regions(members: list[_Member], file: LabelmeFile, naming: Naming, phrases: list[str]) -> list[Region]:
    """The regions of an instance; the phrases are lost with a shape that has none."""
    regions = []
    for at, shape, fault in members:
        try:
            if fault is not None:
                raise fault
            regions.append(_region(shape, (naming.file, _record(at)), file))
        except RecordFault as why:
            naming.lose(phrases, _record(at), why)
    return regions


def _record(position: int) -> str:
    return f"shapes[{position}]"


def _instances(file: LabelmeFile, naming: Naming) -> dict[str, list[_Member]]:
    """Shapes joined by group; an instance is called by its first position."""
    joined: dict[tuple[object, str], str] = {}
    found: dict[str, list[_Member]] = {}
    for position, raw in enumerate(file.shapes):
        try:
            shape, fault = _shape(raw)
        except RecordFault as why:
            naming.rejects.add(naming.file, _record(position), why.reason, why.detail, expressions=1)
            naming.pass_over(_record(position))
            continue
        key = str(position)
        if shape.group_id is not None:
            key = joined.setdefault((shape.group_id, shape.label), key)
        found.setdefault(key, []).append((position, shape, fault))
    return found


def _shape(raw: msgspec.Raw) -> tuple[_Shape, RecordFault | None]:
    """A shape and what keeps it from being used; RecordFault if not even its label can be read."""
    try:
        shape = decode_row(raw, _Shape, "bad-shape")
    except RecordFault as why:
        shape = _Shape(decode_row(raw, _Labelled, "bad-shape").label, "", points=[])
        try:
            loose = decode_row(raw, _LooseShape, "bad-shape")
            shape = _Shape(loose.label, "", loose.group_id, loose.description, None, loose.flags, points=[])
            points = decode_row(loose.points, list[list[object]], "bad-shape")
            shape.points = [(numbers.real(x), numbers.real(y)) for x, y in points]
        except (RecordFault, ValueError):
            return shape, why
        shape.shape_type, shape.mask = loose.shape_type, loose.mask
    if shape.kind in NO_AREA:
        return shape, RecordFault("no-area", f"{shape.kind} {shape.label!r}")
    return shape, None


def _region(shape: _Shape, where: Where, file: LabelmeFile) -> Region:
    from stamp_data.sources import areas  # numpy and Pillow, which a listing of datasets does without

    kinds = {
        "polygon": areas.polygon,
        "rectangle": areas.rectangle,
        "circle": areas.circle,
        "oriented_rectangle": areas.polygon,
        "quadrilateral": areas.polygon,
        "rotation": areas.polygon,  # this and the one before are X-AnyLabeling's
    }
    if shape.kind == "mask":
        return Region(areas.mask(shape.points, shape.mask, *file.size), where)
    if shape.kind not in kinds:
        raise RecordFault("bad-shape", f"shape_type {shape.kind[:40]!r} is unknown")
    return Region(kinds[shape.kind](shape.points), where)
