"""One's own data as a folder of labelme files, one JSON per picture.

Phrases are a shape's `description`, else its `label`. Shapes of one `group_id` and label are one instance; all instances of
a picture that share a phrase form one target, since the phrase names them all. Lines and points cover no area and are
refused. What is labelled `__ignore__`, labelme's own word for it, counts neither for nor against any target of its picture.
Pictures embedded in the JSON are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data import numbers
from stamp_data.rejects import RejectLog
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault, unreadable
from stamp_data.sources.jsonfile import SMALL_LIMIT, decode_row, load_json
from stamp_data.sources.paths import image_path
from stamp_data.sources.phrases import Naming
from stamp_schemas import Annotation, ImageRef, Region, StampError
from stamp_schemas.annotation import Where

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
IGNORE = "__ignore__"
NO_AREA = ("line", "linestrip", "point", "points")


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    group_id: float | str | None = None
    description: str | None = None
    mask: str | None = None


class _File(msgspec.Struct):
    shapes: list[msgspec.Raw]
    image_path: str = msgspec.field(name="imagePath")
    height: int | None = msgspec.field(name="imageHeight", default=None)
    width: int | None = msgspec.field(name="imageWidth", default=None)


class _LooseShape(msgspec.Struct):
    label: str
    points: list[list[object]] = []
    shape_type: str = "polygon"
    group_id: float | str | None = None
    description: str | None = None
    mask: str | None = None


_SHAPE = msgspec.json.Decoder(_Shape)
_LOOSE = msgspec.json.Decoder(_LooseShape)
_Member = tuple[int, _Shape, RecordFault | None]


class LabelMe(Source):
    dataset = "labelme"
    licence = "that of the data"
    homepage = "https://github.com/wkentaro/labelme"

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        super().__init__(root, split_by, reading)
        self._files: list[Path] = []

    @classmethod
    def find(cls, root: Path) -> list[str]:
        if not root.is_dir():
            return []
        names = {(path.stem, path.suffix.lower()) for path in root.iterdir()}
        stems = {stem for stem, suffix in names if suffix == ".json"}
        return [""] if any(stem in stems for stem, suffix in names if suffix in PICTURES) else []

    @property
    def inputs(self) -> list[Path]:
        files = [path for path in sorted(self.root.glob("*.json")) if path.is_file()]
        if not files:
            raise StampError(f"{self.root} holds no JSON file", "--root names the folder of the labelme files")
        return files

    def load(self) -> None:
        self._files = sorted(self.root.glob("*.json"))

    def splits(self) -> list[str]:
        return ["train"]

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        for path in self._files if split == "train" else []:
            try:
                file = load_json(path, _File, SMALL_LIMIT, self.reading.encoding)
                image = _image(file)
            except StampError as fault:
                rejects.add(path.name, path.stem, "unreadable-file", unreadable(fault, path).detail)
                continue
            except RecordFault as fault:
                rejects.add(path.name, path.stem, fault.reason, fault.detail, expressions=len(file.shapes))
                continue
            naming = Naming(path.name, path.stem, rejects)
            _name(file, naming)
            targets, requests = naming.ask()
            if requests:
                yield Annotation(path.stem, (path.name, path.stem), image, targets, requests)


def _image(file: _File) -> ImageRef:
    for side in (file.height, file.width):
        if side is not None and side <= 0:
            raise RecordFault("bad-image", f"the picture is said to have {file.width}×{file.height} pixels")
    return ImageRef(image_path("", file.image_path), file.width, file.height, "upright")


def _name(file: _File, naming: Naming) -> None:
    """Give every instance to its phrase, which is lost if any shape of it is unusable: the mask would lack it."""
    for key, members in _instances(file, naming).items():
        label = members[0][1].label
        if label.strip() == IGNORE:
            _ignore(members, file, naming)
            continue
        said = next((text for _, shape, _ in members if (text := (shape.description or "").strip())), label)
        phrases = naming.clean([said], _record(members[0][0]))
        regions = []
        for at, shape, fault in members:
            try:
                if fault is not None:
                    raise fault
                regions.append(_region(shape, (naming.file, _record(at)), file))
            except RecordFault as why:
                naming.lose(phrases, _record(at), why)
        if len(regions) == len(members):
            naming.add(phrases, regions, key, [label.strip()])


def _ignore(members: list[_Member], file: _File, naming: Naming) -> None:
    for at, shape, fault in members:
        try:
            if fault is not None:
                raise fault
            region = _region(shape, (naming.file, _record(at)), file)
        except RecordFault as why:
            naming.lose([], _record(at), why)
        else:
            naming.ignore_everywhere(msgspec.structs.replace(region, role="ignore"))


def _record(position: int) -> str:
    return f"shapes[{position}]"


def _instances(file: _File, naming: Naming) -> dict[str, list[_Member]]:
    """Shapes joined by group; an instance is called by its first position."""
    joined: dict[tuple[object, str], str] = {}
    found: dict[str, list[_Member]] = {}
    for position, raw in enumerate(file.shapes):
        try:
            shape, fault = _shape(raw)
        except RecordFault as why:
            naming.rejects.add(naming.file, _record(position), why.reason, why.detail, expressions=1)
            continue
        key = str(position)
        if shape.group_id is not None:
            key = joined.setdefault((shape.group_id, shape.label), key)
        found.setdefault(key, []).append((position, shape, fault))
    return found


def _shape(raw: msgspec.Raw) -> tuple[_Shape, RecordFault | None]:
    """A shape and what keeps it from being used; RecordFault if not even its label can be read."""
    try:
        shape = decode_row(raw, _SHAPE, "bad-shape")
    except RecordFault as why:
        loose = decode_row(raw, _LOOSE, "bad-shape")
        shape = _Shape(loose.label, [], "", loose.group_id, loose.description)
        try:
            shape.points = [(numbers.real(x), numbers.real(y)) for x, y in loose.points]
        except ValueError:
            return shape, why
        shape.shape_type, shape.mask = loose.shape_type, loose.mask
    if shape.shape_type in NO_AREA:
        return shape, RecordFault("no-area", f"{shape.shape_type} {shape.label!r}")
    return shape, None


def _region(shape: _Shape, where: Where, file: _File) -> Region:
    from stamp_data.sources import areas  # numpy and Pillow, which a listing of datasets does without

    kinds = {
        "polygon": areas.polygon,
        "rectangle": areas.rectangle,
        "circle": areas.circle,
        "oriented_rectangle": areas.polygon,
    }
    if shape.shape_type == "mask":
        return Region(areas.mask(shape.points, shape.mask, file.height, file.width), where)
    if shape.shape_type not in kinds:
        raise RecordFault("bad-shape", f"shape_type {shape.shape_type[:40]!r} is unknown")
    return Region(kinds[shape.shape_type](shape.points), where)
