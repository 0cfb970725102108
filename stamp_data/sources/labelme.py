"""One's own data as a folder of labelme files, one JSON per picture; sub-folders are read too, and tell the split if they are
called `train`, `val`, `test`, …; else it is train. So what `stamp-data export --to labelme` wrote is built as it was.

Phrases are a shape's `description`, else its `label`. Shapes of one `group_id` and label are one instance, as
are shapes of one label and the very same area, which bear a phrase each; all instances of
a picture that share a phrase form one target, since the phrase names them all. Lines and points cover no area and are
refused. What is labelled `__ignore__`, labelme's own word for it, counts neither for nor against any target of its picture.

That a phrase names nothing in the picture is said by a flag: `no_target` of a shape, of whatever kind, that bears the
phrase; or `no_target: PHRASE` of the picture.

A picture is the file that `imagePath` names, else the one inside the JSON (`imageData`), else the one beside it with the
same stem: pictures are renamed together with their files, and `imagePath` is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import msgspec

from stamp_data import numbers
from stamp_data.files import open_plain
from stamp_data.finding import SUFFIXES as PICTURES
from stamp_data.finding import walk
from stamp_data.rejects import RejectLog, storable
from stamp_data.sources.base import BESIDE, Source
from stamp_data.sources.faults import RecordFault, unreadable
from stamp_data.sources.jsonfile import SMALL_LIMIT, decode_row, load_json
from stamp_data.sources.paths import inner_path
from stamp_data.sources.phrases import Naming
from stamp_data.sources.split_words import split_of_folders
from stamp_schemas import Annotation, ImageRef, Region, StampError
from stamp_schemas.annotation import Where

SUFFIX = ".json"
IGNORE = "__ignore__"
NO_AREA = ("line", "linestrip", "point", "points")
NO_TARGET = "no_target"
_LOOKED_AT = (
    3,
    30,
    1 << 18,
)  # files per folder, folders, and bytes per file, to see whether a folder is one of labelme's


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
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


class _File(msgspec.Struct):
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
    def height(self) -> int | None:
        """In pixels, as the annotation says; RecordFault `bad-image` if it is none. `width` likewise."""
        return self._side(self.said_height)

    @property
    def width(self) -> int | None:
        return self._side(self.said_width)

    def _side(self, said: float | str | None) -> int | None:
        try:
            side = None if said is None else numbers.whole(said)
        except ValueError:
            side = 0
        if side is not None and side <= 0:
            size = f"{str(self.said_width)[:20]}×{str(self.said_height)[:20]}"
            raise RecordFault("bad-image", f"the picture is said to have {size} pixels")
        return side


class _Labelled(msgspec.Struct):
    label: str


class _LooseShape(_Labelled):
    points: msgspec.Raw = msgspec.Raw(b"null")
    shape_type: str | None = "polygon"
    group_id: float | str | None = None
    description: str | None = None
    mask: str | None = None
    flags: dict[str, object] | None = None


_SHAPE = msgspec.json.Decoder(_Shape)
_LABELLED = msgspec.json.Decoder(_Labelled)
_LOOSE = msgspec.json.Decoder(_LooseShape)
_POINTS = msgspec.json.Decoder(list[list[object]])
_Member = tuple[int, _Shape, RecordFault | None]


class LabelMe(Source):
    dataset = "labelme"
    licence = "that of the data"
    homepage = "https://github.com/wkentaro/labelme"
    frame = "upright"
    own = True

    @classmethod
    def find(cls, root: Path) -> list[str]:
        if not root.is_dir():
            return []
        folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())[: _LOOKED_AT[1]]]
        files = [path for folder in folders for path in _some_files(folder)]
        return [""] if any(map(_is_labelme, files)) else []

    @property
    def usual_folders(self) -> tuple[str, ...]:
        return "", BESIDE

    @cached_property
    def _tree(self) -> dict[str, set[str]]:
        """Names of all files by their folders, relative to the root."""
        return {folder: set(names) for folder, names in walk(self.root, self.reading.follow_links, self._links)}

    @cached_property
    def _links(self) -> list[str]:
        """Links to folders that were passed over, once the tree is known."""
        return []

    @property
    def _files(self) -> list[str]:
        """All JSON files, relative to the root."""
        found = [
            (folder, name) for folder, names in self._tree.items() for name in names if name.lower().endswith(SUFFIX)
        ]
        return [f"{folder}/{name}" if folder else name for folder, name in sorted(found)]

    @property
    def inputs(self) -> list[Path]:
        files = [path for path in map(self.root.joinpath, self._files) if path.is_file()]
        if not files:
            linked = f"--follow-links reads what lies behind {self._links[0]}" if self._links else ""
            raise StampError(
                f"{self.root} holds no JSON file", linked or "--root names the folder of the labelme files"
            )
        return files

    def load(self) -> None:
        """The files are read one by one, as their pictures are asked for."""

    def splits(self) -> list[str]:
        return list(dict.fromkeys(map(_split, self._files)))

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        if split == self.splits()[0]:
            for link in self._links:
                detail = "a link to a folder outside of the root, passed over; --follow-links reads what is in it"
                rejects.add(link, link.rpartition("/")[2], "folder-passed-over", detail)
        for name in self._files:
            if _split(name) != split:
                continue
            path = self.root / name
            where = storable(name), storable(path.stem)
            try:
                file = load_json(path, _File, SMALL_LIMIT, self.reading.encoding)
                image = self._image(file, name, rejects)
            except StampError as fault:
                rejects.add(*where, "unreadable-file", unreadable(fault, path).detail)
                continue
            except RecordFault as fault:
                rejects.add(*where, fault.reason, fault.detail, expressions=len(file.shapes))
                continue
            naming = Naming(*where, rejects)
            _name(file, naming)
            targets, requests = naming.ask()
            if requests:
                yield Annotation(storable(_stem(name)), where, image, targets, requests)

    def _image(self, file: _File, name: str, rejects: RejectLog) -> ImageRef:
        """The picture of a file. RecordFault if it claims to have no size, or lies outside of the root."""
        folder, _, own = name.rpartition("/")
        try:
            image = self.picture(folder, file.image_path, file.width, file.height)
        except RecordFault:
            if not file.has_picture:
                raise
            base = inner_path(file.image_path).rpartition("/")[2]
            image = self.picture(folder, base or storable(_stem(own)), file.width, file.height)
        if image.root or (self._is_there(image.path) and not self.finder.given):
            return image
        if found := self.finder.near(image.path):
            return msgspec.structs.replace(image, root=found.root, path=found.path)
        if file.has_picture and storable(name) == name:
            return msgspec.structs.replace(image, embedded=name)
        twin = next((_stem(own) + suffix for suffix in self._twins(folder, own)), "")
        if not twin:
            return image
        detail = f"no picture {file.image_path!r}; {twin} beside the file is taken for it"
        rejects.add(name, _stem(own), "picture-renamed", detail, action="cleaned")
        return self.picture(folder, twin, file.width, file.height)

    def _is_there(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return name in self._tree.get(folder, ())

    def _twins(self, folder: str, own: str) -> list[str]:
        """Suffixes under which there are pictures beside a file that are called as it is."""
        stem = _stem(own)
        names = sorted(name for name in self._tree[folder] if name.startswith(f"{stem}."))
        return [name.removeprefix(stem) for name in names if name.removeprefix(stem).lower() in PICTURES]


def _stem(name: str) -> str:
    return name[: -len(SUFFIX)]


def _split(name: str) -> str:
    return split_of_folders(name, "train")


def _some_files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.[jJ][sS][oO][nN]"))[: _LOOKED_AT[0]]
    except OSError:  # a folder that may not be looked into
        return []


def _is_labelme(path: Path) -> bool:
    """Whether the beginning of a file looks like labelme's."""
    try:
        with open_plain(path) as file:
            data = file.read(_LOOKED_AT[2])
    except (OSError, StampError):
        return False
    return b'"shapes"' in data and (b'"imagePath"' in data or b'"imageData"' in data)


def _name(file: _File, naming: Naming) -> None:
    """Give every instance to its phrase, which is lost if any shape of it is unusable: the mask would lack it."""
    for flag, is_set in (file.flags or {}).items():
        kind, colon, phrase = flag.partition(":")
        if is_set is True and colon and kind.strip() == NO_TARGET:
            naming.add_nothing(naming.clean([phrase], "flags"), "flags")
    twins: dict[object, str] = {}
    for key, members in _instances(file, naming).items():
        label = members[0][1].label
        if label.strip() == IGNORE:
            _ignore(members, file, naming)
            continue
        said = next((text for _, shape, _ in members if (text := (shape.description or "").strip())), label)
        phrases = naming.clean([said], _record(members[0][0]))
        if any(shape.is_nothing for _, shape, _ in members):
            naming.add_nothing(phrases, _record(members[0][0]))
            continue
        regions = []
        for at, shape, fault in members:
            try:
                if fault is not None:
                    raise fault
                regions.append(_region(shape, (naming.file, _record(at)), file))
            except RecordFault as why:
                naming.lose(phrases, _record(at), why)
        if len(regions) == len(members):
            area = (label, *((shape.kind, *shape.points, shape.mask) for _, shape, _ in members))
            naming.add(phrases, regions, twins.setdefault(area, key), [label.strip()])


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
        shape = _Shape(decode_row(raw, _LABELLED, "bad-shape").label, [], "")
        try:
            loose = decode_row(raw, _LOOSE, "bad-shape")
            shape = _Shape(loose.label, [], "", loose.group_id, loose.description, None, loose.flags)
            points = decode_row(loose.points, _POINTS, "bad-shape")
            shape.points = [(numbers.real(x), numbers.real(y)) for x, y in points]
        except (RecordFault, ValueError):
            return shape, why
        shape.shape_type, shape.mask = loose.shape_type, loose.mask
    if shape.kind in NO_AREA:
        return shape, RecordFault("no-area", f"{shape.kind} {shape.label!r}")
    return shape, None


def _region(shape: _Shape, where: Where, file: _File) -> Region:
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
        return Region(areas.mask(shape.points, shape.mask, file.height, file.width), where)
    if shape.kind not in kinds:
        raise RecordFault("bad-shape", f"shape_type {shape.kind[:40]!r} is unknown")
    return Region(kinds[shape.kind](shape.points), where)
