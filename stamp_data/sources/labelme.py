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

from stamp_data.rejects import RejectLog
from stamp_data.sources.base import Source
from stamp_data.sources.faults import RecordFault, unreadable
from stamp_data.sources.jsonfile import SMALL_LIMIT, decode_row, load_json
from stamp_data.sources.paths import image_path
from stamp_data.sources.phrases import Named, ask
from stamp_data.sources.references import checked_text
from stamp_schemas import Annotation, ImageRef, Region, StampError
from stamp_schemas.annotation import Where

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
IGNORE = "__ignore__"
NO_AREA = ("line", "linestrip", "point", "points")


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    group_id: int | str | None = None
    description: str | None = None
    mask: str | None = None


class _File(msgspec.Struct):
    shapes: list[msgspec.Raw]
    image_path: str = msgspec.field(name="imagePath")
    height: int | None = msgspec.field(name="imageHeight", default=None)
    width: int | None = msgspec.field(name="imageWidth", default=None)


_SHAPE = msgspec.json.Decoder(_Shape)


class LabelMe(Source):
    dataset = "labelme"
    licence = "that of the data"
    homepage = "https://github.com/wkentaro/labelme"

    def __init__(self, root: Path, split_by: str = "") -> None:
        super().__init__(root, split_by)
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
                file = load_json(path, _File, SMALL_LIMIT, "cp1252")
                image = _image(file)
            except StampError as fault:
                rejects.add(path.name, path.stem, "unreadable-file", unreadable(fault, path).detail)
                continue
            except RecordFault as fault:
                rejects.add(path.name, path.stem, fault.reason, fault.detail, expressions=len(file.shapes))
                continue
            named = _named(file, path.name, rejects)
            if named:
                yield Annotation(path.stem, (path.name, path.stem), image, *ask(named))


def _image(file: _File) -> ImageRef:
    for side in (file.height, file.width):
        if side is not None and side <= 0:
            raise RecordFault("bad-image", f"the picture is said to have {file.width}×{file.height} pixels")
    return ImageRef(image_path("", file.image_path), file.width, file.height, "upright")


def _named(file: _File, name: str, rejects: RejectLog) -> list[Named]:
    """The phrases of one picture with what they name. One unusable shape takes its phrase with it: the mask would lack it."""
    found: dict[str, Named] = {}
    ignored: list[Region] = []
    spoiled: set[str] = set()
    for key, members in _instances(file, name, rejects).items():
        if members[0][1].label == IGNORE:
            ignored.extend(_ignored(members, file, name, rejects))
            continue
        phrase = next((shape.description for _, shape in members if shape.description), members[0][1].label)
        where = name, f"shapes[{members[0][0]}]"
        named = found.setdefault(phrase, Named(phrase, where))
        try:
            checked_text(phrase)
            named.regions.extend(_region(shape, (name, f"shapes[{at}]"), file) for at, shape in members)
        except RecordFault as fault:
            lost = int(phrase not in spoiled)
            rejects.add(name, f"shapes[{members[0][0]}]", fault.reason, fault.detail, expressions=lost)
            spoiled.add(phrase)
        named.instances.append(key)
        named.categories.append(members[0][1].label)
    usable = [named for phrase, named in found.items() if phrase not in spoiled]
    for named in usable:
        named.regions.extend(ignored)
    return usable


def _ignored(members: list[tuple[int, _Shape]], file: _File, name: str, rejects: RejectLog) -> Iterator[Region]:
    for at, shape in members:
        try:
            yield msgspec.structs.replace(_region(shape, (name, f"shapes[{at}]"), file), role="ignore")
        except RecordFault as fault:
            rejects.add(name, f"shapes[{at}]", fault.reason, fault.detail)


def _instances(file: _File, name: str, rejects: RejectLog) -> dict[str, list[tuple[int, _Shape]]]:
    """Shapes with an area, with their positions, joined by group; an instance is called by its first position."""
    joined: dict[tuple[object, str], str] = {}
    found: dict[str, list[tuple[int, _Shape]]] = {}
    for position, raw in enumerate(file.shapes):
        try:
            shape = decode_row(raw, _SHAPE, "bad-shape")
            if shape.shape_type in NO_AREA:
                raise RecordFault("no-area", f"{shape.shape_type} {shape.label!r}")
        except RecordFault as fault:
            rejects.add(name, f"shapes[{position}]", fault.reason, fault.detail, expressions=1)
            continue
        key = str(position)
        if shape.group_id is not None:
            key = joined.setdefault((shape.group_id, shape.label), key)
        found.setdefault(key, []).append((position, shape))
    return found


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
