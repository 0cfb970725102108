"""Masks as pictures (PNG, BMP, GIF, TIFF) with a table that says what they show: CSV or JSON lines, a row per phrase or mask.

Columns, under any of their usual names: the picture; the mask, empty where the phrase names nothing in the picture; the
phrase, in JSON lines also a list of them; and, if the masks are indexed or coloured, the value of the pixels that are meant: a
number, `#ff0000` or `255,0,0`. Without a value all is meant that is neither black nor transparent. A column `split` tells the
split. Masks lie where the table says, relative to it, or in `masks` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from stamp_data import numbers
from stamp_data.files import UNDECODABLE
from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.finding import Finder
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.formats.tables import BEYOND, header, rows
from stamp_data.sources.jsonfile import BOM, OTHER_FORMAT, as_utf8, read_buffer
from stamp_data.sources.paths import image_path, relative
from stamp_schemas import StampError

if TYPE_CHECKING:
    from stamp_data.sources.formats.painted import Painting

COLUMNS = {
    "picture": ("image", "file_name", "filename", "image_path", "img", "img_path", "picture"),
    "mask": ("mask", "mask_path", "mask_file", "mask_name", "segmentation"),
    "phrase": (
        "phrase",
        "phrases",
        "expression",
        "expressions",
        "text",
        "caption",
        "sentence",
        "prompt",
        "query",
        "label",
    ),
    "value": ("value", "colour", "color", "index", "pixel_value"),
    "split": ("split", "subset"),
}
FOLDER = "masks"
LINES = 64  # of JSON lines that are looked at to see what they are
_LINE = msgspec.json.Decoder(dict[str, object])


class _Row(NamedTuple):
    """One row. fields: by the keys of COLUMNS."""

    record: str
    fields: Mapping[str, object]

    def text(self, column: str) -> str:
        """RecordFault `bad-annotation` if there is something else than a text."""
        value = self.fields.get(column)
        if value is not None and not isinstance(value, str):
            raise RecordFault("bad-annotation", f"{column} is {type(value).__name__}, not a text")
        return (value or "").strip()


class MaskTable(FormatSource):
    dataset = "masks"
    frame = "unsure"
    format = "masks as PNG"
    suffixes = (".csv", ".tsv", ".jsonl")
    hint = "it takes a table, CSV or JSON lines, with columns image, mask and phrase"

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        rows_of = _first_keys(path) if path.suffix.lower() == ".jsonl" else [header(path)]
        return any(_columns(names).keys() >= {"picture", "mask", "phrase"} for names in rows_of)

    @property
    def inputs(self) -> list[Path]:
        """The tables and, once they are read, the masks, which decide the result as well."""
        said = ((path, row) for path, document in self._read.items() for row in document)
        masks = dict.fromkeys(self.root / found for path, row in said if (found := self._mask_path(row, path)))
        return [*super().inputs, *filter(self._may_be_read, masks)]

    @cached_property
    def finder(self) -> Finder:
        """As any other, but not by the base name alone: what is called as a picture that is missing would be its mask."""
        return Finder(self.roots, len(self.reading.images), self.usual_folders, follow_links=self.reading.follow_links)

    def read(self, path: Path) -> list[_Row]:
        encoding = self.reading.encoding
        cells: Iterable[tuple[str, Mapping[str, object]]]
        cells = _json_rows(path, encoding) if path.suffix.lower() == ".jsonl" else rows(path, encoding)
        found = [_Row(place, {key: row[name] for key, name in _columns(row).items()}) for place, row in cells]
        if not any(row.fields.keys() >= {"picture", "phrase"} for row in found):
            raise StampError(f"{path}: no columns for picture, mask and phrase", "call them image, mask and phrase")
        return found

    def splits_in(self, document: list[_Row]) -> Iterator[str]:
        return map(_split, document)

    def pictures(self, document: list[_Row], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        from stamp_data.sources.formats.painted import open_painting  # Pillow, which a listing of datasets does without

        roots, links = self.root.resolve(), self.reading.follow_links
        opened = lru_cache(maxsize=4)(lambda relative: open_painting(roots, relative, links))
        for row in document:
            try:
                name = row.text("picture")
            except RecordFault as fault:
                rejects.add(self.name_of(path), row.record, fault.reason, fault.detail)
                continue
            thing = Thing(row.record, _phrases(row))
            page = Pictured(row.record, [name] if name else [], [thing], split=_split(row))
            thing.take(self._painted, page, row, path, opened)
            yield page

    def _may_be_read(self, mask: Path) -> bool:
        is_inside = self.reading.follow_links or mask.resolve().is_relative_to(self.root.resolve())
        return is_inside and mask.is_file()

    def _painted(self, page: Pictured, row: _Row, table: Path, opened: Callable[[str], Painting]) -> msgspec.Raw | None:
        """The mask of a row, if there is one; the picture gets its size. RecordFault if it cannot be used."""
        _check(row)
        if mask := self._mask_path(row, table):
            painting = opened(mask)
            page.width, page.height = painting.width, painting.height
            return painting.segmentation(_value(row.fields.get("value")))
        if name := row.text("mask"):
            raise RecordFault("bad-shape", f"the mask {name[:99]!r} leads out of the root")
        if "mask" not in row.fields:
            raise RecordFault("bad-annotation", "no mask: it is empty where the phrase names nothing")
        return None

    def _mask_path(self, row: _Row, table: Path) -> str:
        """Where the mask of a row lies, relative to the root; "" if there is none, or it is nowhere in the root."""
        folders = dict.fromkeys((self.folder_of(table), relative(table.parent, self.root).removeprefix(".")))
        wheres = [where for folder in folders for where in (folder, f"{folder}/{FOLDER}".lstrip("/"))]
        try:
            name = row.text("mask")
            places = [image_path(where, name, up=True) for where in wheres] if name else []
        except RecordFault:
            return ""
        return next((place for place in places if (self.root / place).is_file()), places[0] if places else "")


def _json_rows(path: Path, encoding: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    for number, line in enumerate(bytes(as_utf8(read_buffer(path), path, encoding)).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", _LINE.decode(line)
        except UNDECODABLE as fault:
            raise StampError(f"{path}: line {number}: {fault}", OTHER_FORMAT) from None


def _first_keys(path: Path) -> Iterator[list[str]]:
    """The keys of the first lines: some rows may leave the mask out."""
    for line in islice(bytes(read_buffer(path)[: 1 << 20]).removeprefix(BOM).lstrip().split(b"\n"), LINES):
        try:
            yield list(_LINE.decode(line))
        except UNDECODABLE:
            return


def _columns(names: Iterable[str]) -> dict[str, str]:
    """The name of each column that is there."""
    there = {name.strip().lower(): name for name in names}
    found = {key: there[one] for key, known in COLUMNS.items() for one in reversed(known) if one in there}
    return found | ({BEYOND: BEYOND} if BEYOND in there else {})


def _split(row: _Row) -> str:
    said = row.fields.get("split")
    return storable(said.strip()) if isinstance(said, str) else ""


def _phrases(row: _Row) -> list[str]:
    said = row.fields.get("phrase")
    texts = said if isinstance(said, list) else [said]
    return [text for text in texts if isinstance(text, str)]


def _check(row: _Row) -> None:
    """RecordFault `bad-annotation` for a row of which a part of the words would be lost."""
    if beyond := row.fields.get(BEYOND):
        raise RecordFault(
            "bad-annotation", f"more cells than columns, from {beyond!r} on: put a text with a comma in quotes"
        )
    said = row.fields.get("phrase")
    if isinstance(said, list) and not all(isinstance(text, str) for text in said):
        raise RecordFault("bad-sentence", "the phrases are no list of texts")


def _value(said: object) -> tuple[int, ...]:
    """The value of the pixels that are meant: (index,), (red, green, blue), or () for all that is painted."""
    if isinstance(said, str):
        said = said.strip().strip("[]()")
        if said.startswith("#") and len(said) == len("#rrggbb"):
            try:
                return tuple(bytes.fromhex(said[1:]))
            except ValueError:
                raise RecordFault("bad-annotation", f"{said!r} is no colour") from None
        said = said.replace(";", ",").replace(" ", ",").split(",") if said else None
    if said is None:
        return ()
    parts = said if isinstance(said, list) else [said]
    try:
        found = tuple(numbers.whole(part) for part in parts if part != "")
    except ValueError as fault:
        raise RecordFault("bad-annotation", f"value: {fault}") from None
    if len(found) not in (1, 3):
        raise RecordFault("bad-annotation", f"a value of {len(found)} numbers; an index has one, a colour three")
    return found
