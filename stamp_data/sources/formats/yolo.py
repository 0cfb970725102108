"""YOLO segmentation: a text file per picture, a line per thing: its class, then its outline in parts of width and height.

`images/…/a.jpg` goes with `labels/…/a.txt`, or the two lie side by side. Names of classes are in `data.yaml`, else in
`classes.txt`, one a line. A class names all its things; an empty file says that none of the classes is in its picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from stamp_data import numbers
from stamp_data.files import read_plain
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.base import AS_USUAL, Reading
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.finding import SUFFIXES
from stamp_data.sources.formats import outlines
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import OTHER_FORMAT, SMALL_LIMIT
from stamp_schemas import ImageRef, StampError

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt")
BOX = 5  # values of a line that is a box: class, centre, size


class YOLO(FormatSource):
    dataset = "yolo"
    homepage = "https://docs.ultralytics.com/datasets/segment/"
    frame = "upright"
    format = "YOLO"
    suffixes = (".txt",)
    one_each = True

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        super().__init__(root.parent if root.name in NAMES else root, split_by, reading)

    @classmethod
    def find(cls, root: Path) -> list[str]:
        return super().find(root) if root.is_dir() and _names_file(root) else []

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        """Whatever lies where labels lie, also what turns out to be damaged."""
        return path.name not in NAMES and ("labels" in path.parts[:-1] or _picture_beside(path))

    @property
    def inputs(self) -> list[Path]:
        names = _names_file(self.root)
        if names is None:
            raise StampError(f"{self.root}: no names of classes", f"put them into {self.root}/classes.txt, one a line")
        return [names, *super().inputs]

    def load(self) -> None:
        _ = self.names

    @cached_property
    def names(self) -> dict[int, str]:
        """Names of the classes by their numbers."""
        path = _names_file(self.root)
        assert path is not None, "inputs were asked for"
        if path.suffix == ".txt":
            try:
                lines = read_plain(path, SMALL_LIMIT).decode("utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as fault:
                raise StampError(f"{path} cannot be read: {fault}", OTHER_FORMAT) from None
            return {number: line.strip() for number, line in enumerate(lines) if line.strip()}
        return _yaml_names(path)

    def read(self, path: Path) -> list[str]:
        try:
            return read_plain(path, SMALL_LIMIT).decode("ascii").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise StampError(f"{path} cannot be read: {fault}", OTHER_FORMAT) from None

    def pictures(self, document: list[str], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        from stamp_data.sources.formats.sizes import upright_size  # Pillow, which a listing of datasets does without

        name = self.name_of(path)
        try:
            image = self._picture(path)
            width, height = upright_size(image, self.finder)
        except RecordFault as fault:
            rejects.add(name, path.stem, fault.reason, fault.detail, expressions=len(document))
            return
        lines = [(number, line.split()) for number, line in enumerate(document, 1) if line.strip()]
        things = [self._thing(values, f"line {number}", width, height) for number, values in lines]
        if not things:
            things = [Thing("no line", [phrase]) for phrase in self.names.values()]
        yield Pictured(path.stem, [image.path], things, width, height, id=name.removesuffix(path.suffix))

    def folder_of(self, path: Path) -> str:  # noqa: ARG002 - the pictures' names are whole
        return ""

    def _picture(self, path: Path) -> ImageRef:
        """The picture that goes with a file of labels."""
        folder = super().folder_of(path)
        parts = folder.split("/") if folder else []
        places = [[*parts[:at], "images", *parts[at + 1 :]] for at, part in enumerate(parts) if part == "labels"]
        tried = [
            self.image_ref("/".join(place), path.stem + suffix)
            for place in (*places[::-1], parts)
            for suffix in SUFFIXES
        ]
        for image in tried:
            if found := self.finder.near(image.path):
                return ImageRef(found.path, frame=self.frame, root=found.root)
        raise RecordFault("picture-missing", f"{tried[0].path}: no such file, nor with another suffix")

    def _thing(self, values: list[str], record: str, width: int, height: int) -> Thing:
        phrases: list[str] = []
        try:
            number = numbers.whole(values[0])
            if number not in self.names:
                raise RecordFault("no-phrase", f"class {number} has no name")
            phrases.append(self.names[number])
            if len(values) == BOX:
                raise RecordFault("no-area", "a box, not an outline")
            if len(values) % 2 == 0:
                raise RecordFault("bad-shape", f"{len(values) - 1} coordinates: one of a pair is missing")
            flat = [numbers.real(value) for value in values[1:]]
            points = [(x * width, y * height) for x, y in zip(flat[::2], flat[1::2], strict=True)]
            return Thing(record, phrases, outlines.polygon(points), categories=phrases)
        except RecordFault as fault:
            return Thing(record, phrases, fault=fault)
        except ValueError as fault:
            return Thing(record, phrases, fault=RecordFault("bad-shape", str(fault)))


def _picture_beside(path: Path) -> bool:
    return any(path.with_suffix(suffix).is_file() for suffix in SUFFIXES)


def _names_file(root: Path) -> Path | None:
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def _yaml_names(path: Path) -> dict[int, str]:
    try:
        import yaml
    except ModuleNotFoundError:
        raise StampError(
            f"{path}: reading it takes pyyaml", "pip install pyyaml, or write classes.txt instead"
        ) from None
    try:
        held = yaml.safe_load(read_plain(path, SMALL_LIMIT))
        names = held["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {numbers.whole(number): str(name) for number, name in pairs}
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as fault:
        raise StampError(f"{path} cannot be read: {str(fault).splitlines()[0]}", OTHER_FORMAT) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StampError(f"{path}: `names` is no list of classes", "names: [cat, dog]") from None
