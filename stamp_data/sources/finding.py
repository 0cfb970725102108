"""Finding pictures that do not lie where their annotation says: in folders that people name, and in the usual places.

While pictures lie where they are expected, nothing here is asked: folders are listed once a first look has failed. Names
are compared without regard to case, to the Unicode form (macOS stores `é` as two characters), and to `%20` for a space.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from stamp_data.files import RIVALS_TOLD
from stamp_schemas import ImageRef

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

Names = dict[str, list[str]]
"""File names by `_plain` name."""


class Scan(NamedTuple):
    """What one folder holds."""

    files: Names
    folders: Names


class Place(NamedTuple):
    """root: index of the folder that pictures may lie in. path: posix, relative to it."""

    root: int
    path: str

    def inner(self, name: str) -> Place:
        """What is called so in this folder."""
        return Place(self.root, f"{self.path}/{name}" if self.path else name)


class Finder:
    """Looks for pictures in one dataset's folders.

    roots: folders that pictures may lie in, resolved: the dataset's own, those that people named, which come first in any
    look, and the usual ones beside the own. given: how many people named. usual: folders below the own root. own: whether it
    is one's own data, whose names follow no convention.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        given: int,
        usual: Sequence[str] = (),
        *,
        own: bool = False,
        follow_links: bool = False,
    ) -> None:
        self.roots = [str(root) for root in roots]
        self.given = given
        self.follow_links = follow_links
        self._usual = usual
        self._own = own
        self._scans: dict[Place, Scan] = {}
        self._folders = lru_cache(maxsize=4096)(self._list_folders)
        self._indices: dict[int, dict[str, list[str]]] = {}

    def full(self, image: ImageRef) -> str:
        """The path of the file that holds a picture."""
        return f"{self.roots[image.root]}/{image.embedded or image.path}"

    def placed(self, image: ImageRef) -> ImageRef:
        """The picture with the place that it was found at, or else with its rivals; as it is if there is nothing like it."""
        places = _clearest(look(image.path) for look in (self._near, self._anywhere))
        if found := _sole(places):
            return msgspec.structs.replace(image, root=found.root, path=found.path)
        return msgspec.structs.replace(image, rivals=[place.path for place in places[: RIVALS_TOLD + 1]])

    def near(self, path: str) -> Place | None:
        """A picture of this name in the folders that people named, in its own folder, or in a usual one."""
        return _sole(self._near(path))

    def elsewhere(self, path: str) -> list[Place]:
        """The picture of this name that is known not to lie below the own root; several where nothing decides, or none."""
        folder, _, name = path.rpartition("/")
        places = [place for root in range(1, len(self.roots)) for place in self._ends(root, folder)]
        near = (self._in_folder(place, name) for place in places)
        return _clearest(chain(near, (self._below(root, name) for root in range(1, 1 + self.given))))

    def _near(self, path: str) -> list[Place]:
        folder, _, name = path.rpartition("/")
        return _clearest(self._in_folder(place, name) for place in self._folders(folder)) or self._like_folders(folder)

    def _anywhere(self, path: str) -> list[Place]:
        """The pictures with this base name, wherever below a folder that people named, or of one's own data.

        Not below the own root where the picture's own folder holds pictures: what is missing there is missing, and what is
        called the same elsewhere, as `val/1.jpg` for `train/1.jpg`, is another picture.
        """
        folder, _, name = path.rpartition("/")
        is_scattered = self._own and not self._holds_pictures(folder)
        return _clearest(self._below(root, name) for root in range(0 if is_scattered else 1, 1 + self.given))

    def _in_folder(self, place: Place, name: str) -> list[Place]:
        """What a name may mean in a folder."""
        return [place.inner(real) for real in _like(self._scan(place).files, name)]

    def _below(self, root: int, name: str) -> list[Place]:
        """What a base name may mean anywhere below a root."""
        return [Place(root, path) for path in self._index(root).get(_plain(name), [])]

    def _like_folders(self, folder: str) -> list[Place]:
        """The folders between which nothing decides, on the way to one below the own root."""
        found = self._meant(Place(0, folder))
        return [] if _sole(found) else [Place(0, f"{path}/") for _, path in found]

    def _meant(self, folder: Place) -> list[Place]:
        """The folder that a path means; none, or several, as its first part does that means not exactly one."""
        found = Place(folder.root, "")
        for part in folder.path.split("/") if folder.path else ():
            places = [found.inner(name) for name in _like(self._scan(found).folders, part)]
            if len(places) != 1:
                return places
            (found,) = places
        return [found]

    def _ends(self, root: int, folder: str, start: str = "") -> list[Place]:
        """Folders below `start` that end as `folder` does, the most alike first."""
        parts = folder.split("/") if folder else []
        ends = ["/".join(parts[number:]) for number in range(len(parts) + 1)]
        return [Place(root, "/".join(filter(None, (start, end)))) for end in ends]

    def _list_folders(self, folder: str) -> list[Place]:
        """Folders that exist and may hold what an annotation expects in `folder`, in the order of the look."""
        if ".." in folder.split("/"):
            return []
        places = [place for root in range(1, 1 + self.given) for place in self._ends(root, folder)]
        places.append(Place(0, folder))
        if not (self._own and self._holds_pictures(folder)):
            places += [place for usual in self._usual for place in self._ends(0, folder, usual)]
            places += [place for root in range(1 + self.given, len(self.roots)) for place in self._ends(root, folder)]
        return list(dict.fromkeys(real for place in places if (real := self._real(place))))

    def _real(self, place: Place) -> Place | None:
        """The folder as it is really called; None if there is none."""
        if os.path.isdir(f"{self.roots[place.root]}/{place.path}"):  # noqa: PTH112 - never raises
            return place
        return _sole(self._meant(place))

    def _holds_pictures(self, folder: str) -> bool:
        files = self._scan(Place(0, folder)).files
        return any(name.lower().endswith(SUFFIXES) for names in files.values() for name in names)

    def _scan(self, place: Place) -> Scan:
        """What is in one folder; nothing if it cannot be read."""
        if place not in self._scans:
            scan = self._scans[place] = Scan({}, {})
            with suppress(OSError), os.scandir(f"{self.roots[place.root]}/{place.path}") as entries:
                for entry in entries:
                    if entry.name.isprintable():
                        names = scan.folders if entry.is_dir() else scan.files
                        names.setdefault(_plain(entry.name), []).append(entry.name)
        return self._scans[place]

    def _index(self, root: int) -> dict[str, list[str]]:
        """Paths of all pictures below a root by their base names."""
        if root not in self._indices:
            index: dict[str, list[str]] = {}
            for folder, names in walk(Path(self.roots[root]), self.follow_links):
                for name in names if folder.isprintable() or not folder else []:
                    if name.lower().endswith(SUFFIXES) and name.isprintable():
                        index.setdefault(_plain(name), []).append(f"{folder}/{name}" if folder else name)
            self._indices[root] = index
        return self._indices[root]


def walk(root: Path, follow_links: bool = False, links: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """(folder relative to the root, names of its files) of every folder below, in the order of their names.

    Hidden folders are passed over, links to folders too unless they are to be followed; a folder is met once, whatever leads
    to it. links: takes the links to folders outside of the root that are passed over.
    """
    met: set[tuple[int, int]] = set()
    for path, folders, names in os.walk(root, followlinks=follow_links):
        status = os.stat(path)  # noqa: PTH116 - a string, as os.walk gives it
        if (status.st_dev, status.st_ino) in met:
            folders.clear()
            continue
        met.add((status.st_dev, status.st_ino))
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        relative = os.path.relpath(path, root)
        relative = "" if relative == "." else relative
        if links is not None and not follow_links:
            links += (f"{relative}/{name}".lstrip("/") for name in folders if _leads_out(f"{path}/{name}", root))
        yield relative, sorted(names)


def _leads_out(path: str, root: Path) -> bool:
    link = os.path.islink(path)  # noqa: PTH114 - a text, as the walk gives it
    return link and not Path(os.path.realpath(path)).is_relative_to(root.resolve())


def _like(names: Names, name: str) -> list[str]:
    """What a name may mean: the one of exactly this name, else all that are called much the same."""
    found = names.get(_plain(name), [])
    return [name] if name in found else sorted(found)


def _clearest(finds: Iterable[list[Place]]) -> list[Place]:
    """The first find of one place; else the first of several, between which nothing decides."""
    several: list[Place] = []
    for found in finds:
        if len(found) == 1:
            return found
        several = several or found
    return several


def _sole(places: Sequence[Place]) -> Place | None:
    return places[0] if len(places) == 1 else None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(name)).casefold()
