"""What formats of one's own data share, so that a format says no more than how its files are found and what they say.

A format reads a document into pictures (`Pictured`), each with what is said in it (`Thing`). The rest happens here: splits by
the names of files and folders, pictures found on disk, pictures that are named several times joined, phrases cleaned and
joined by `Naming`, and a reject row for what cannot be used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain, count, islice, product
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, Self

import msgspec

from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault, unreadable
from stamp_data.sources.finding import walk
from stamp_data.sources.formats.talks import Talk, written
from stamp_data.sources.jsonfile import FILE_LIMIT, SMALL_LIMIT, load_json, read_buffer
from stamp_data.sources.paths import WORD, relative, split_of_folders
from stamp_data.sources.phrases import IGNORE, Naming
from stamp_data.sources.refer import make_unique
from stamp_schemas import Annotation, ImageRef, Region, Request, StampError
from stamp_schemas.annotation import Written

P = ParamSpec("P")

FOLDERS, FILES = 200, 64  # of a root, that are looked at to see whether it holds anything of a format
ALIKE = 8  # files of one folder that are looked at, where each picture has one
HEAD = 64 << 20  # bytes of a file that marks are looked for in: its first entry, which may be painted
LONGEST_SIDE = 1 << 30  # pixels
TELLING = ("expression", "phrase", "caption", "description", "text")
"""How names of attributes begin that hold phrases, in tools that let people name their own."""


@dataclass(slots=True)
class Thing:
    """What one entry says: phrases, and where in the picture that is.

    record: the place in the file. segmentation: as `Region.segmentation`; None if the phrases name nothing in the picture.
    instance: an id that is unique in the picture, `record` if not given. fault: why the entry cannot be used, which costs
    its phrases.
    """

    record: str
    phrases: list[str]
    segmentation: msgspec.Raw | None = None
    instance: str = ""
    categories: list[str] = field(default_factory=list)
    fault: RecordFault | None = None

    def take(self, segmentation: Callable[P, msgspec.Raw | None], *what: P.args, **named: P.kwargs) -> Self:
        """Takes what a call gives as its segmentation, or the RecordFault that it raises as its fault."""
        try:
            self.segmentation = segmentation(*what, **named)
        except RecordFault as fault:
            self.fault = fault
        return self


@dataclass(slots=True)
class Pictured:
    """One picture and what a document says of it.

    names: what the picture may be called, the first that is there is taken. width, height: pixels as the document says, or
    None. id: of the record, its name if not given. split: where the document says it of each picture. row: of the document, a
    Parquet file, which holds the picture itself; -1 if it does not.
    """

    record: str
    names: list[str]
    things: list[Thing]
    width: int | None = None
    height: int | None = None
    id: str = ""
    split: str = ""
    row: int = -1
    talks: list[Talk] = field(default_factory=list)


class FormatSource(Source):
    """One format of one's own data. The root is a file of it, or a folder with such files in it or below.

    suffixes: of its files. marks: bytes that all occur early in one. document: what a file of JSON holds. one_each: there is
    a document per picture, so that a damaged one costs no more than that. hint: where no file is one.
    """

    licence: ClassVar[str] = "that of the data"
    homepage: ClassVar[str] = ""
    own = True
    usual_folders: tuple[str, ...] = ("", "images", "data")
    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    marks: ClassVar[tuple[bytes, ...]] = ()
    document: ClassVar[Any] = list[msgspec.Raw]
    one_each: ClassVar[bool] = False
    hint: ClassVar[str] = "--root names the file, or its folder"

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        self.only = root if root.is_file() else None
        self._read: dict[Path, Any] = {}
        self._unreadable: dict[Path, StampError] = {}
        super().__init__(root.parent if root.is_file() else root, split_by, reading)

    def read(self, path: Path) -> Any:
        """A document, parsed; StampError where it is unreadable as a whole."""
        limit = SMALL_LIMIT if self.one_each else FILE_LIMIT
        return load_json(path, self.document, limit, self.reading.encoding)

    @abstractmethod
    def pictures(self, document: Any, path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        """What a document says; what cannot be told of any picture becomes a row of `rejects`."""

    @classmethod
    def find(cls, root: Path) -> list[str]:
        if not root.exists():
            return []
        for path in islice(_files(root, cls.suffixes, FOLDERS, each=ALIKE if cls.one_each else None), FILES):
            with suppress(StampError):
                if cls.is_mine(path):
                    return [""]
        return []

    @property
    def inputs(self) -> list[Path]:
        if not self.documents:
            raise next(
                iter(self._unreadable.values()), StampError(f"{self.root} holds no file of {self.format}", self.hint)
            )
        return self.documents

    @cached_property
    def documents(self) -> list[Path]:
        """The files that say what is in the pictures."""
        if self.only:
            return [self.only]
        found = []
        for path in _files(self.root, self.suffixes, follow_links=self.reading.follow_links):
            try:
                if self.is_mine(path):
                    found.append(path)
            except StampError as fault:
                self._unreadable[path] = fault
        return found

    def load(self) -> None:
        self._read = {} if self.one_each else {path: self.read(path) for path in self.documents}

    def splits(self) -> list[str]:
        found = (split for path in self.documents for split in self._splits(self._read.get(path), path))
        return list(dict.fromkeys(found))

    def splits_in(self, document: Any) -> Iterable[str]:  # noqa: ARG002 - few know
        """`Pictured.split` of all pictures of a document; none where they do not say."""
        return []

    def _splits(self, document: Any, path: Path) -> list[str]:
        alone = self.split_of(path)
        return list(dict.fromkeys(split or alone for split in self.splits_in(document))) or [alone]

    def split_of(self, path: Path) -> str:
        """The split that a file's name, or else a folder's, speaks of; else train."""
        said = None if self.one_each else WORD.search(path.stem)
        return said[1] if said else split_of_folders(relative(path, self.root), "train")

    def name_of(self, path: Path) -> str:
        """How rows call a document."""
        return relative(path, self.root)

    def folder_of(self, path: Path) -> str:
        """The folder, relative to the root, that the pictures' names of a document are relative to.

        Not `annotations`, unless `images` lie in it: then it is a set that is called so.
        """
        parent = path.parent
        is_beside = parent.name == "annotations" and parent != self.root and not (parent / "images").is_dir()
        folder = relative(parent.parent if is_beside else parent, self.root)
        return "" if folder == "." else folder

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        for path, unread in self._unreadable.items() if split == self.splits()[0] else ():
            rejects.add(self.name_of(path), storable(path.stem), "unreadable-file", unreadable(unread, path).detail)
        for path in self.documents:
            alone = self.split_of(path)
            name = self.name_of(path)
            if self.one_each and alone != split:
                continue
            try:
                document = self.read(path) if self.one_each else self._read[path]
            except StampError as fault:
                rejects.add(name, storable(path.stem), "unreadable-file", unreadable(fault, path).detail)
                continue
            if split not in self._splits(document, path):
                continue
            pages = (page for page in self.pictures(document, path, rejects) if (page.split or alone) == split)
            for page in _joined(pages):
                try:
                    image = self._image(page, path)
                except RecordFault as fault:
                    lost = sum(len(thing.phrases) for thing in page.things)
                    rejects.add(name, page.record, fault.reason, fault.detail, expressions=lost)
                    continue
                if annotation := self.said(page, name, image, rejects):
                    yield annotation

    def said(self, page: Pictured, file: str, image: ImageRef, rejects: RejectLog) -> Annotation | None:
        """The record of one picture, None if nothing is left of it. What is called the same is asked for together."""
        naming = Naming(file, page.record, rejects)
        shapes: dict[str, bytes] = {}
        for thing in page.things:
            if not thing.phrases:
                why = thing.fault or RecordFault("no-phrase", "nothing says in words what it shows")
                rejects.add(file, thing.record, why.reason, why.detail)
                naming.pass_over(thing.record)
                continue
            phrases = naming.clean(thing.phrases, thing.record)
            region = Region(thing.segmentation or msgspec.Raw(), (file, thing.record))
            if not phrases:
                naming.pass_over(thing.record)
            elif thing.fault:
                naming.lose(phrases, thing.record, thing.fault)
            elif thing.segmentation is None:
                naming.add_nothing(phrases, thing.record)
            elif phrases == [IGNORE]:
                naming.ignore_everywhere(msgspec.structs.replace(region, role="ignore"))
            else:
                naming.add(phrases, [region], _instance(thing, shapes), thing.categories)
        targets, requests = naming.ask()
        for request in requests:
            request.form = "question" if request.text.endswith("?") else request.form
        identity = storable(page.id or page.names[0])
        others = naming.others(targets) if self.reading.others else []
        dialogues = list(written(page.talks, requests, file, rejects))
        if dialogues:
            asking: list[Request | Written] = [*requests, *dialogues]
            make_unique(asking)
        where = file, page.record
        made = Annotation(identity, where, image, targets, requests, others=others, dialogues=dialogues)
        return made if requests or dialogues else None

    def _image(self, page: Pictured, document: Path) -> ImageRef:
        """The first name that is there, else the picture in the document, else the first possible name; RecordFault if none."""
        if not page.names:
            raise RecordFault("picture-missing", "nothing says which picture it is")
        if any(side is not None and not 0 < side < LONGEST_SIDE for side in (page.width, page.height)):
            raise RecordFault("bad-image", f"the picture is said to have {page.width}×{page.height} pixels")
        images: list[ImageRef] = []
        faults: list[RecordFault] = []
        for folder, name in product(self._folders(self.folder_of(document)), page.names):
            try:
                images.append(self.image_ref(folder, name, page.width, page.height))
            except RecordFault as fault:
                faults.append(fault)
        if not images:
            raise faults[0]
        if len(images) == 1 and page.row < 0:  # the build looks for it
            return images[0]
        there = (image for image in images if image.root or (self.root / image.path).is_file())
        near = (image for image in images if self.finder.near(image.path))
        if found := next(there, None) or next(near, None):
            return found
        if page.row >= 0:
            return msgspec.structs.replace(images[0], embedded=self.name_of(document), row=page.row)
        return images[0]

    @lru_cache  # noqa: B019 - a source lives as long as its build
    def _folders(self, folder: str) -> list[str]:  # asked once per picture
        """Where pictures of a document's folder may lie: `images` in it comes before that of the root."""
        inner = f"{folder}/images"
        return [folder, inner] if folder and (self.root / inner).is_dir() else [folder]

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        """Whether a file looks like this format; StampError if it cannot be read."""
        data = read_buffer(path)
        return all(data.find(mark, 0, HEAD) >= 0 for mark in cls.marks)


def _files(
    root: Path,
    suffixes: Sequence[str],
    folders: int | None = None,
    follow_links: bool = False,
    each: int | None = None,
) -> Iterator[Path]:
    """Files with these suffixes at or below a root, in the order of their names; of so many folders, of all if None; so many
    of each."""
    if root.is_file():
        yield from [root] if root.suffix.lower() in suffixes else []
        return
    for folder, names in islice(walk(root, follow_links), folders):
        found = (root / folder / name for name in names if name.lower().endswith(tuple(suffixes)))
        yield from islice(found, each)


def _instance(thing: Thing, shapes: dict[str, bytes]) -> str:
    """The id of a thing in its picture: not the file's where a thing of another shape has that, since tools count anew."""
    said = thing.instance or thing.record
    shape = bytes(thing.segmentation or b"")
    names = chain([said], (f"{said}.{number}" for number in count(2)))
    return next(name for name in names if shapes.setdefault(name, shape) == shape)


def _joined(pages: Iterable[Pictured]) -> Iterator[Pictured]:
    """Pictures that are named several times, with all that is said of them. Where sizes differ, nobody knows which is meant."""
    found: dict[str, Pictured] = {}
    for page in pages:
        key = page.names[0] if page.names else page.record
        there = found.setdefault(key, page)
        if there is page:
            continue
        if there.width is None:
            there.width, there.height = page.width, page.height
        if page.width is not None and (there.width, there.height) != (page.width, page.height):
            size = f"{page.width}×{page.height} pixels, {there.width}×{there.height} by {there.record}"
            for thing in page.things:
                thing.fault = RecordFault("bad-image", f"the picture has {size}")
        there.things += page.things
        there.talks += page.talks
    yield from found.values()
