"""Files that are laid out as COCO's, and mean something else by it: their images, each with its annotations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Thing
from stamp_data.sources.jsonfile import BOM, checked_segmentation, decode_row, decode_rows, read_buffer
from stamp_data.sources.rows import ABSENT

Id = int | float | str


class Identified(Protocol):
    """An entry of `images`."""

    id: Id


Entry = TypeVar("Entry", bound=Identified)


class CocoFile(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw] = []
    categories: list[msgspec.Raw] = []


class Row(msgspec.Struct):
    """An entry of `annotations`. target: of our own export, which writes a target once for each phrase that names it."""

    image_id: Id
    id: Id | None = None
    segmentation: msgspec.Raw = ABSENT
    category_id: Id | None = None
    noun_phrase: str | None = None
    target: object = None


class _OfImage(msgspec.Struct):
    image_id: Id


class _Category(msgspec.Struct):
    id: Id
    name: str


@dataclass
class Page(Generic[Entry]):
    """An image with its annotations and, of each, the thing without its phrases. spoilt: why one of them cannot be read."""

    image: Entry
    record: str
    entries: list[tuple[Row, Thing]]
    spoilt: RecordFault | None


class CocoLike(FormatSource):
    """A format in that layout. marks: bytes that an object has all of, wherever."""

    document = CocoFile

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        return holds(path, cls.marks)


def holds(path: Path, marks: Sequence[bytes]) -> bool:
    """Whether an object has all of the marks, wherever: LVIS has a gigabyte of annotations before its first image."""
    data = read_buffer(path)
    is_object = data[:64].removeprefix(BOM).lstrip()[:1] == b"{"
    return is_object and all(data.find(mark) >= 0 for mark in marks)


class Phrases(dict[str, str]):
    """The phrases of categories by their ids."""

    def named(self, category: Id | None) -> list[str]:
        """The phrase of a category, none if it has no name."""
        said = None if category is None else self.get(numbers.name(category))
        return [said] if said else []


def pages(file: CocoFile, kind: type[Entry], name: str, rejects: RejectLog) -> Iterator[Page[Entry]]:
    """The images in the order of the file; rows for entries that cannot be used.

    kind: of an entry of `images`. name: how rows call the file.
    """
    held: dict[str, list[tuple[Row, Thing]]] = {}
    spoilt: dict[str, RecordFault] = {}
    for position, raw in enumerate(file.annotations):
        try:
            row = decode_row(raw, Row, "bad-annotation")
        except RecordFault as fault:
            rejects.add(name, f"annotations[{position}]", fault.reason, fault.detail)
            _spoil(raw, fault, spoilt)
            continue
        record = f"annotations[{position}]" if row.id is None else f"annotation {numbers.name(row.id)}"
        thing = Thing(record, [], instance=f"n{position}" if row.id is None else numbers.name(row.id))
        thing.take(checked_segmentation, row.segmentation)
        held.setdefault(numbers.name(row.image_id), []).append((row, thing))
    known: set[str] = set()
    rows = ((f"images[{position}]", raw) for position, raw in enumerate(file.images))
    for record, image in decode_rows(rows, kind, "bad-image", name, rejects):
        identity = numbers.name(image.id)
        if identity in known:
            rejects.add(name, record, "duplicate-id", f"another image has the id {identity}", expressions=1)
            continue
        known.add(identity)
        yield Page(image, f"image {identity}", held.pop(identity, []), spoilt.get(identity))
    for identity, entries in held.items():
        for _, thing in entries:
            rejects.add(name, thing.record, "image-missing", f"image {identity} is not there, or cannot be used")


def named(page: Page[Entry], phrases: Phrases) -> list[Thing]:
    """The annotations of an image under what their categories are called; all of that is lost if one cannot be read."""
    if page.spoilt:
        every = {text for row, _ in page.entries for text in phrases.named(row.category_id)}
        return [Thing(page.record, sorted(every), fault=page.spoilt)]
    for row, thing in page.entries:
        thing.phrases = thing.categories = phrases.named(row.category_id)
    return [thing for _, thing in page.entries]


def phrases_of(file: CocoFile, name: str, rejects: RejectLog) -> Phrases:
    """What the categories are called: `baseball_bat` a baseball bat, a part `dog:head` the head of the dog.

    What tells like names apart in LVIS, `mouse_(computer_equipment)`, is kept. Sets of parts, as PACO, have no like names, and
    lose it: nobody says `the wheel of the car (automobile)`; LISA reads them so. name: how rows call the file.
    """
    found: dict[str, str | None] = {}
    for position, raw in enumerate(file.categories):
        try:
            one = decode_row(raw, _Category, "bad-annotation")
            if found.setdefault(numbers.name(one.id), one.name) != one.name:
                found[numbers.name(one.id)] = None  # nobody knows which is meant
                raise RecordFault("duplicate-id", f"another category has the id {numbers.name(one.id)}")
        except RecordFault as fault:
            rejects.add(name, f"categories[{position}]", fault.reason, fault.detail)
    has_parts = any(":" in said for said in found.values() if said)
    return Phrases({identity: _phrase(said, plain=has_parts) for identity, said in found.items() if said})


def _phrase(name: str, plain: bool) -> str:
    thing, colon, part = (
        (side.partition("_(")[0] if plain else side).replace("_", " ") for side in name.strip().partition(":")
    )
    return f"the {part} of the {thing}" if colon else thing


def _spoil(raw: msgspec.Raw, fault: RecordFault, spoilt: dict[str, RecordFault]) -> None:
    """Note of which image an annotation is that cannot be read: what is said there would lack its mask."""
    try:
        spoilt[numbers.name(decode_row(raw, _OfImage, "bad-annotation").image_id)] = fault
    except RecordFault:
        return
