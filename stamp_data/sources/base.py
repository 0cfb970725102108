"""What every dataset family offers to the build."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import msgspec

from stamp_data.files import rivals_told
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.finding import Finder
from stamp_data.sources.paths import image_path, inner_path
from stamp_schemas import Annotation, ImageRef, Settings
from stamp_schemas.annotation import Frame
from stamp_schemas.manifest import Crowd

BESIDE = "images"  # a folder of pictures beside one of annotations
FILE_SCHEME = "file://"


class Reading(msgspec.Struct, frozen=True):
    """How raw files are to be read where they do not say.

    encoding: of JSON files that are not UTF-8; "" refuses them, except for ReasonSeg's, which then are cp1252. crowd: what
    COCO's `iscrowd` 1 means: `ignore`, as in COCO's own files, neither for nor against; `instance`, no more than that the
    mask is an RLE, as in files of CVAT. images: folders that pictures are looked for in first. follow_links: pictures may
    lie behind links that lead out of the root and of these folders. others: annotations also tell of things that nothing refers
    to, where a format has such.
    """

    encoding: str = ""
    crowd: Crowd = "ignore"
    images: tuple[Path, ...] = ()
    follow_links: bool = False
    others: bool = False

    @classmethod
    def of(cls, settings: Settings, images: tuple[Path, ...] = (), follow_links: bool = False) -> Reading:
        """As a build of these settings reads."""
        return cls(settings.encoding, settings.crowd, images, follow_links, others=settings.most_rounds > 1)


AS_USUAL = Reading()


class Source(ABC):
    """One dataset under one root, opened for reading.

    Opening finds the annotation files and nothing more; `load` parses them once, however many splits are built from them.
    A source yields annotations and rejects; it never opens a picture and never decodes a mask.

    dataset: name on the command line. default_split_by: the usual way of splitting, "" where there is only one; split_bys:
    every one. licence, homepage: carried into the manifest. frame: which image its annotations mean where EXIF asks for
    turning it. own: one's own data, whose names and folders follow no convention, and which is built only when named.
    numbered: its images are called by numbers, not by names of which some may look like numbers: readers that put records
    into columns, such as Hugging Face datasets, take either kind, but not both in one set. format: what `foreign.FORMATS`
    calls its files. usual_folders: folders below the root in which pictures may lie, besides those that the annotations name.
    reading: how they are to be read.
    """

    dataset: ClassVar[str]
    default_split_by: ClassVar[str] = ""
    split_bys: ClassVar[tuple[str, ...]] = ("",)
    licence: ClassVar[str]
    homepage: ClassVar[str]
    frame: ClassVar[Frame] = "stored"
    own: ClassVar[bool] = False
    numbered: ClassVar[bool] = False
    format: ClassVar[str] = ""
    usual_folders: tuple[str, ...] = ()

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        self.root = root
        self.reading = reading
        self.split_by = split_by or self.default_split_by

    @property
    def image_folder(self) -> str:
        """The one folder of pictures, relative to the root, where that may be any of several usual ones; else ""."""
        return ""

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that `ImageRef.root` counts, resolved; every process that reads pictures needs them."""
        root = self.root.resolve()
        beside = root.parent / BESIDE
        more = [beside] if self.own and beside != root and beside.is_dir() else []
        return (root, *(path.resolve() for path in (*self.reading.images, *more)))

    @cached_property
    def finder(self) -> Finder:
        """Finds the pictures that do not lie where the annotations say."""
        links = self.reading.follow_links
        return Finder(self.roots, len(self.reading.images), self.usual_folders, own=self.own, follow_links=links)

    def image_ref(self, folder: str, name: str, width: int | None = None, height: int | None = None) -> ImageRef:
        """The picture that annotations call `name`, in `folder` below the root. RecordFault `path-escape` if the name leads
        out of the root, and nothing of that name lies in the folders beside it.
        """
        if name.startswith("data:"):
            raise RecordFault("picture-missing", "the picture is a data URI: write it to a file, and name that")
        if "://" in name and not name.startswith(FILE_SCHEME):
            raise RecordFault(
                "picture-missing", f"{name[:100]!r} is an address: download the picture, and name the file"
            )
        name = name.removeprefix(FILE_SCHEME)
        try:
            return ImageRef(image_path(folder, name, self.own), width, height, self.frame)
        except RecordFault as fault:
            inner = inner_path(name)
            if not inner or not name.isprintable():
                raise
            found = self.finder.elsewhere(inner)
            if len(found) != 1:
                rivals = rivals_told([place.path for place in found])
                remedy = f"elsewhere {rivals}" if found else "--images DIR looks for the name elsewhere"
                raise RecordFault(fault.reason, f"{fault.detail}; {remedy}") from None
            return ImageRef(found[0].path, width, height, self.frame, found[0].root)

    @property
    def name(self) -> str:
        """Folder of the built set, as `refcoco-unc` or `reason_seg`."""
        return f"{self.dataset}-{self.split_by}" if self.split_by else self.dataset

    @classmethod
    @abstractmethod
    def find(cls, root: Path) -> list[str]:
        """The split_bys whose annotation files exist under `root`; [] if the dataset is not there."""

    @property
    @abstractmethod
    def inputs(self) -> list[Path]:
        """The annotation files that decide the result; the manifest holds their digests. StampError if one is missing."""

    @abstractmethod
    def load(self) -> None:
        """Parse the annotation files. StampError (file, fault, remedy) where a file as a whole is unreadable."""

    def load_splits(self) -> None:
        """As much of `load` as `splits` and `counts` need."""
        self.load()

    def counts(self, split: str) -> tuple[int, int, int] | None:  # noqa: ARG002 - few know
        """References, sentences and images of a split, where the files say so much without a look at their records."""
        return None

    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits that the files hold, in their usual order; valid after `load`."""

    @abstractmethod
    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        """Every record of one split, in any order; what cannot be used becomes a row of `rejects`."""
