"""YOLO segmentation: a text file per picture, a line per thing: its class, then its outline in parts of width and height.

`images/…/a.jpg` goes with `labels/…/a.txt`, or the two lie side by side. Names of classes are in `data.yaml`, else in
`classes.txt`, one a line. A class names all its things; an empty file says that none of the classes is in its picture. What
`data.yaml` has as train, val and test, folders or lists of pictures, tells the splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from stamp_data import numbers
from stamp_data.files import open_plain, read_plain
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.base import AS_USUAL, Reading
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.finding import SUFFIXES, Finder
from stamp_data.sources.formats import outlines
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import OTHER_FORMAT, SMALL_LIMIT
from stamp_schemas import ImageRef, StampError

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt")
SPLITS = ("train", "val", "test")
LONGEST = 1024  # characters of a place in data.yaml or a list
SIDEWAYS = 5  # the first EXIF orientation that exchanges width and height; all after it do
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
        if path.name in NAMES:
            return False
        return "labels" in path.parts[:-1] or any(path.with_suffix(suffix).is_file() for suffix in SUFFIXES)

    @property
    def inputs(self) -> list[Path]:
        names = _names_file(self.root)
        if names is None:
            raise StampError(f"{self.root}: no names of classes", f"put them into {self.root}/classes.txt, one a line")
        return [names, *self.lists, *super().inputs]

    def load(self) -> None:
        _ = self.names, self.told

    def split_of(self, path: Path) -> str:
        """As `data.yaml` says, else as folders are called."""
        parts = self.name_of(path).split("/")
        places = ("/".join(parts[:depth]) for depth in range(len(parts), 0, -1))
        return next((self.told[place] for place in places if place in self.told), "") or super().split_of(path)

    @cached_property
    def places(self) -> list[tuple[str, str]]:
        """(folder or list of pictures, split), as `data.yaml` says."""
        path = _names_file(self.root)
        held = _yaml(path) if path and path.suffix != ".txt" else {}
        said = ((place, split) for split in SPLITS for place in _listed(held.get(split)))
        return [(place, split) for place, split in said if isinstance(place, str)]

    @cached_property
    def lists(self) -> dict[Path, str]:
        """The splits of files that list pictures. StampError if one is not there: its pictures could be of any split."""
        found: dict[Path, str] = {}
        for place, split in self.places:
            if place.lower().endswith(".txt"):
                name = self._below(place, Path.is_file)
                if not name:
                    raise StampError(
                        f"{self.root}: data.yaml names {place[:99]!r}, which is not there",
                        "put it there, or take it out",
                    )
                found.setdefault(self.root / name, split)
        return found

    @cached_property
    def told(self) -> dict[str, str]:
        """The splits of folders and files of labels, relative to the root, as `data.yaml` tells those of their pictures."""
        found: dict[str, str] = {}
        for place, split in self.places:
            found.setdefault(self._labels(place, Path.is_dir), split)
        for path, split in self.lists.items():
            for line in filter(str.strip, _lines(path)):
                label = str(PurePosixPath(line.strip()).with_suffix(".txt"))
                found.setdefault(self._labels(label, Path.is_file), split)
        return found

    def _labels(self, place: str, is_there: Callable[[Path], bool]) -> str:
        """Where labels are that belong to a place of pictures: in `labels` for `images`, or beside; "" if they are nowhere."""
        head, images, tail = f"/{place}/".rpartition("/images/")
        instead = f"{head}/labels/{tail}" if images else place
        return self._below(instead, is_there) or self._below(place, is_there)

    def _below(self, place: str, is_there: Callable[[Path], bool]) -> str:
        """A place relative to the root, without what may stand before it: folders of another machine, or `..`."""
        parts = [part for part in place[:LONGEST].replace("\\", "/").split("/") if part not in ("", ".", "..")]
        tails = ("/".join(parts[start:]) for start in range(max(len(parts) - 1, 1)))
        return next((tail for tail in tails if tail.isprintable() and is_there(self.root / tail)), "") if parts else ""

    @cached_property
    def names(self) -> dict[int, str]:
        """Names of the classes by their numbers."""
        path = _names_file(self.root)
        assert path is not None, "inputs were asked for"
        if path.suffix == ".txt":
            return {number: line.strip() for number, line in enumerate(_lines(path)) if line.strip()}
        return _yaml_names(path)

    def read(self, path: Path) -> list[str]:
        return _lines(path)

    def pictures(self, document: list[str], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        name = self.name_of(path)
        try:
            image = self._picture(path)
            width, height = _upright_size(image, self.finder)
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


def _upright_size(image: ImageRef, finder: Finder) -> tuple[int, int]:
    """Width and height of a picture as people see it, from the head of its file.

    RecordFault `picture-missing` or `bad-image` if there is none, or it cannot be read.
    """
    from stamp_data import picture  # Pillow, which a listing of datasets does without

    try:
        path = Path(picture.inside(Path(finder.roots[image.root]), image.path, finder.follow_links))
        with open_plain(path, picture.MAX_BYTES) as file, picture.opening(file, image.path) as found:
            width, height = picture.stored_size(found)
            return (height, width) if picture.orientation_of(found) >= SIDEWAYS else (width, height)
    except picture.PictureFault as fault:
        raise RecordFault("bad-image", fault.message) from None
    except StampError as fault:
        raise RecordFault("bad-image", f"{image.path}: {fault.message.removeprefix(str(path))}") from None
    except OSError as fault:
        raise RecordFault("picture-missing", f"{image.path}: {fault.strerror}; --images DIR names its folder") from None


def _names_file(root: Path) -> Path | None:
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def _lines(path: Path) -> list[str]:
    try:
        return read_plain(path, SMALL_LIMIT).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise StampError(f"{path} cannot be read: {fault}", OTHER_FORMAT) from None


def _yaml(path: Path) -> dict[object, object]:
    try:
        import yaml
    except ModuleNotFoundError:
        raise StampError(
            f"{path}: reading it takes pyyaml", "pip install pyyaml, or write classes.txt instead"
        ) from None
    try:
        held = yaml.safe_load(read_plain(path, SMALL_LIMIT))
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError, ValueError) as fault:
        raise StampError(f"{path} cannot be read: {str(fault).splitlines()[0]}", OTHER_FORMAT) from None
    return held if isinstance(held, dict) else {}


def _yaml_names(path: Path) -> dict[int, str]:
    names = _yaml(path).get("names")
    try:
        pairs = list(names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else []))
        if not pairs or not all(isinstance(name, str | int | float) for _, name in pairs):
            raise ValueError
        return {numbers.whole(number): str(name) for number, name in pairs}
    except ValueError:
        raise StampError(f"{path}: `names` is no list of classes", "names: [cat, dog]") from None


def _listed(value: object) -> list[object]:
    """A list as it is, anything else as the one entry of a list."""
    return value if isinstance(value, list) else [value]
