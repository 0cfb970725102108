"""Sets in which a PNG per picture says of every pixel what class it is of. A class names all its pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import OTHER_FORMAT
from stamp_data.sources.paths import relative
from stamp_schemas import StampError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from stamp_data.sources.formats.painted import Painting

Classes = Mapping[int, str | None]
"""The phrases of classes by their numbers, None for one that is passed over."""


@lru_cache
def class_names(dataset: str) -> dict[int, str]:
    """The names of a set's classes by the values of its pixels, as `classes.json` has them.

    ade20k: the 150 of SceneParse, of each the first of its names. coco_stuff: the 182 of COCO-Stuff.
    """
    data = Path(__file__).with_name("classes.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, dict[int, str]])[dataset]


class ClassMap(NamedTuple):
    """pixels: [height, width] numbers of classes."""

    pixels: npt.NDArray[np.integer[Any]]
    classes: Classes


class SemanticSource(FormatSource):
    """One such set. unlabelled: the number of pixels of which nothing is said."""

    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    one_each = True
    unlabelled = 255

    @property
    @abstractmethod
    def classes(self) -> Classes:
        """Of all maps of the set."""

    @abstractmethod
    def picture_names(self, path: Path) -> list[str]:
        """What the picture of a map may be called, relative to the root."""

    def folder_of(self, path: Path) -> str:  # noqa: ARG002 - the pictures' names are whole
        return ""

    def read(self, path: Path) -> ClassMap:
        pixels = self.painting(path).pixels
        if pixels.ndim != 2:
            raise StampError(f"{path}: its pixels are colours, not numbers of classes", OTHER_FORMAT)
        return ClassMap(pixels, self.classes)

    def painting(self, path: Path) -> Painting:
        """A PNG of the set; StampError if it is none."""
        from stamp_data.sources.formats.painted import open_painting  # Pillow, which a listing of datasets does without

        try:
            return open_painting(self.root.resolve(), relative(path, self.root), self.reading.follow_links)
        except RecordFault as fault:
            raise StampError(f"{path}: {fault.detail}", OTHER_FORMAT) from None

    def pictures(self, document: ClassMap, path: Path, rejects: RejectLog) -> Iterator[Pictured]:  # noqa: ARG002 - things tell
        height, width = document.pixels.shape
        identity = self.name_of(path).removesuffix(path.suffix)
        yield Pictured(path.stem, self.picture_names(path), list(self._things(document)), width, height, id=identity)

    def _things(self, document: ClassMap) -> Iterator[Thing]:
        from stamp_data.sources.formats.painted import by_value

        for value, segmentation in by_value(document.pixels):
            record = f"class {value}"
            if value == self.unlabelled:
                continue
            if value not in document.classes:
                yield Thing(record, [], fault=RecordFault("no-phrase", f"class {value} has no name"))
            elif phrase := document.classes[value]:
                yield Thing(record, [phrase], segmentation, record, [phrase])
