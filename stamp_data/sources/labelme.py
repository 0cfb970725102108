"""One's own data as a folder of labelme files, one JSON per picture; sub-folders are read too, and tell the split if they are
called `train`, `val`, `test`, …; else it is train. So what `stamp-data export --to labelme` wrote is built as it was.

A picture is the file that `imagePath` names, else the one inside the JSON (`imageData`), else the one beside it with the
same stem: pictures are renamed together with their files, and `imagePath` is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stamp_data.files import open_plain
from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.base import BESIDE, Source
from stamp_data.sources.faults import RecordFault, unreadable
from stamp_data.sources.finding import SUFFIXES as PICTURES
from stamp_data.sources.finding import walk
from stamp_data.sources.jsonfile import SMALL_LIMIT, load_json
from stamp_data.sources.paths import inner_path, split_of_folders
from stamp_schemas import Annotation, ImageRef, StampError

if TYPE_CHECKING:
    from stamp_data.sources.labelme_file import LabelmeFile

SUFFIX = ".json"
_LOOKED_AT = (3, 200, 1 << 18)  # files per folder, folders, bytes per file, to see whether a folder is one of labelme's


class LabelMe(Source):
    dataset = "labelme"
    homepage = "https://github.com/wkentaro/labelme"
    frame = "upright"
    licence = "that of the data"
    own = True
    format = "labelme"
    usual_folders = ("", BESIDE)

    @classmethod
    def find(cls, root: Path) -> list[str]:
        if not root.is_dir():
            return []
        for folder, names in islice(walk(root), _LOOKED_AT[1]):
            some = islice((name for name in names if name.lower().endswith(SUFFIX)), _LOOKED_AT[0])
            if any(_is_labelme(root / folder / name) for name in some):
                return [""]
        return []

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
        from stamp_data.sources.labelme_file import LabelmeFile, name_shapes  # most builds are of no file of one's own
        from stamp_data.sources.phrases import Naming

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
                file = load_json(path, LabelmeFile, SMALL_LIMIT, self.reading.encoding)
                image = self._image(file, name, rejects)
            except StampError as fault:
                rejects.add(*where, "unreadable-file", unreadable(fault, path).detail)
                continue
            except RecordFault as fault:
                rejects.add(*where, fault.reason, fault.detail, expressions=len(file.shapes))
                continue
            naming = Naming(*where, rejects)
            name_shapes(file, naming)
            targets, requests = naming.ask()
            others = naming.others(targets) if self.reading.others else []
            if requests:
                yield Annotation(storable(_stem(name)), where, image, targets, requests, others=others)

    def _image(self, file: LabelmeFile, name: str, rejects: RejectLog) -> ImageRef:
        """The picture of a file. RecordFault if it claims to have no size, or lies outside of the root."""
        folder, _, own = name.rpartition("/")
        height, width = file.size
        try:
            image = self.image_ref(folder, file.image_path, width, height)
        except RecordFault:
            if not file.has_picture:
                raise
            base = inner_path(file.image_path).rpartition("/")[2]
            image = self.image_ref(folder, base or storable(_stem(own)), width, height)
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
        return self.image_ref(folder, twin, width, height)

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


def _is_labelme(path: Path) -> bool:
    """Whether the beginning of a file looks like labelme's."""
    try:
        with open_plain(path) as file:
            data = file.read(_LOOKED_AT[2])
    except (OSError, StampError):
        return False
    return b'"shapes"' in data and (b'"imagePath"' in data or b'"imageData"' in data)
