"""What every dataset family offers to the build."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from stamp_data.rejects import RejectLog
from stamp_schemas import Annotation
from stamp_schemas.manifest import Crowd


class Reading(msgspec.Struct, frozen=True):
    """How raw files are to be read where they do not say.

    encoding: of JSON files that are not UTF-8; "" refuses them, except for ReasonSeg's, which then are cp1252. crowd: what
    COCO's `iscrowd` 1 means: `ignore`, as in COCO's own files, neither for nor against; `instance`, no more than that the
    mask is an RLE, as in files of CVAT.
    """

    encoding: str = ""
    crowd: Crowd = "ignore"


AS_USUAL = Reading()


class Source(ABC):
    """One dataset under one root, opened for reading.

    Opening finds the annotation files and nothing more; `load` parses them once, however many splits are built from them.
    A source yields annotations and rejects; it never opens a picture and never decodes a mask.

    Attributes:
        dataset: name on the command line.
        default_split_by: the usual way of splitting, "" where there is only one.
        split_bys: every way of splitting.
        licence, homepage: carried into the manifest.
        reading: how its files are to be read.
    """

    dataset: ClassVar[str]
    default_split_by: ClassVar[str] = ""
    split_bys: ClassVar[tuple[str, ...]] = ("",)
    licence: ClassVar[str]
    homepage: ClassVar[str]

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        self.root = root
        self.reading = reading
        self.split_by = split_by or self.default_split_by

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

    @abstractmethod
    def splits(self) -> list[str]:
        """Names of the splits that the files hold, in their usual order; valid after `load`."""

    @abstractmethod
    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        """Every record of one split, in any order; what cannot be used becomes a row of `rejects`."""
