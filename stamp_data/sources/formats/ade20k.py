"""ADE20K in both layouts: SceneParse's maps of 150 classes, which LISA reads, and the whole set with a JSON per picture.

SceneParse (`ADEChallengeData2016`, LISA's `ade20k`): `annotations/training/ADE_train_*.png` with `images/training/*.jpg`;
pixels are 1 to 150, 0 where nothing is said; `objectInfo150.txt`, where it is there, names the classes. The whole set
(`ADE20K_2021_17_01`): a picture, beside it `<name>.json` with its objects, and `<name>_seg.png`, whose red and green say the
class of each pixel (256 · ⌊red / 10⌋ + green). A class's phrase is the first of its names. Parts of objects are not read.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import msgspec

from stamp_data.files import read_plain
from stamp_data.sources.formats.semantic import Classes, ClassMap, SemanticSource, class_names
from stamp_data.sources.jsonfile import OTHER_FORMAT, SMALL_LIMIT, decode, read_buffer
from stamp_data.sources.paths import relative
from stamp_schemas import StampError

_NAMED = "objectInfo150.txt"
_MAPS = "annotations"  # SceneParse's folder of maps, beside that of pictures
_MAP = re.compile(r"ADE_[a-z]+_\d+\.png")
_MARKS = (b'"annotation"', b'"name_ndx"')
_OLDER = "cp1252"  # in which some names of the whole set are written


class _Object(msgspec.Struct):
    name: str
    name_ndx: int


class _Objects(msgspec.Struct):
    objects: list[_Object] = msgspec.field(name="object", default_factory=list)


class _File(msgspec.Struct):
    annotation: _Objects


class ADE20K(SemanticSource):
    dataset = "ade20k"
    licence = "ADE20K's terms of use"
    homepage = "https://ade20k.csail.mit.edu"
    format = "ADE20K"
    suffixes = (".png", ".json")
    unlabelled = 0
    hint = "it takes annotations/training/ADE_*.png of SceneParse, or ADE_*.json with ADE_*_seg.png of the whole set"

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        if path.suffix == ".png":
            return bool(_MAP.fullmatch(path.name)) and _MAPS in path.absolute().parts[:-1]
        data = read_buffer(path) if path.name.startswith("ADE_") else b""
        return all(data.find(mark) >= 0 for mark in _MARKS)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Also the folder that holds both, where the root is of maps alone."""
        root = self.root.resolve()
        return (*super().roots, *(one.parent for one in (root, root.parent) if one.name == _MAPS))

    @property
    def inputs(self) -> list[Path]:
        named = [path for path in (self.root / _NAMED,) if path.is_file()]
        maps = [_map_of(path) for path in super().inputs if path.suffix == ".json"]
        return [*named, *super().inputs, *filter(Path.is_file, maps)]

    def load(self) -> None:
        _ = self.classes

    @cached_property
    def classes(self) -> Classes:
        path = self.root / _NAMED
        return _read_names(path) if path.is_file() else class_names("ade20k")

    def read(self, path: Path) -> ClassMap:
        if path.suffix == ".png":
            return super().read(path)
        held = decode(read_buffer(path, SMALL_LIMIT), path, _File, self.reading.encoding or _OLDER)
        colours = self.painting(_map_of(path)).pixels
        if colours.ndim != 3:
            raise StampError(f"{_map_of(path)}: its pixels are no colours", OTHER_FORMAT)
        pixels = colours[:, :, 0].astype("int32") // 10 * 256 + colours[:, :, 1]
        return ClassMap(pixels, {one.name_ndx: _first(one.name) for one in held.annotation.objects})

    def picture_names(self, path: Path) -> list[str]:
        if path.suffix == ".json":
            return [relative(path.with_suffix(".jpg"), self.root)]
        head, _, tail = path.absolute().with_suffix(".jpg").as_posix().rpartition(f"/{_MAPS}/")
        home, root = Path(head), self.root.absolute()
        inner = home.relative_to(root) if home.is_relative_to(root) else Path()
        return [(inner / "images" / tail).as_posix()]


def _map_of(path: Path) -> Path:
    """The map that lies beside a JSON of the whole set."""
    return path.with_name(f"{path.stem}_seg.png")


def _first(names: str) -> str | None:
    return names.partition(",")[0].strip() or None


def _read_names(path: Path) -> Classes:
    """The classes of `objectInfo150.txt`: a line each, of which the first column is the number, and the last the names."""
    try:
        lines = read_plain(path, SMALL_LIMIT).decode("utf-8-sig").splitlines()
        rows = [line.split("\t") for line in lines[1:] if line.strip()]
        return {int(row[0]): _first(row[-1]) for row in rows}
    except (OSError, ValueError) as fault:
        raise StampError(f"{path} cannot be read: {fault}", OTHER_FORMAT) from None
