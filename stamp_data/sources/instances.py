"""COCO-style instances files: images, annotations and categories, of which only what is wanted is kept.

Ids are names: nothing is dropped for lack of one, or because it repeats.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import checked_segmentation, decode_rows, load_json, numbered
from stamp_data.sources.rows import ABSENT, AnnotationRow, ImageRow, RefRow, read_annotation, read_image, telling_keys


class _CategoryRow(msgspec.Struct):
    id: int | float | str
    name: str


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw] = []
    refs: list[msgspec.Raw] = []


class Instances:
    """The wanted part of one instances file. Ids are compared as text ("7", 7 and 7.0 are the same).

    name: how reject rows call the file. annotations: by position in the file. broken: rows for entries that cannot be
    used, valid for every split. faulty: what is wrong with the mask of an annotation that is otherwise known. unsaid: what
    is wrong with texts of it. telling: keys found that decide the meaning of a file of one's own, and that nothing here reads.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.images: dict[str, ImageRow] = {}
        self.annotations: dict[int, AnnotationRow] = {}
        self.categories: dict[str, str] = {}
        self.refs: list[RefRow] = []
        self.faulty: dict[int, RecordFault] = {}
        self.unsaid: dict[int, list[RecordFault]] = {}
        self.telling: set[str] = set()
        self.broken = RejectLog()
        self._places: dict[str, list[int]] = {}
        self._of_image: dict[str, list[int]] | None = None
        self._twice: dict[str, str] = {}

    def image(self, image_id: str) -> ImageRow:
        """RecordFault `image-missing`, `duplicate-id` or `bad-image`."""
        row = self.images.get(image_id)
        if row is None:
            raise RecordFault("image-missing", f"image {image_id} is not in {self.name}")
        if image_id in self._twice:
            raise RecordFault("duplicate-id", self._twice[image_id])
        if any(side is not None and side <= 0 for side in (row.width, row.height)):
            raise RecordFault("bad-image", f"image {image_id} is said to have {row.width}×{row.height} pixels")
        return row

    def positions(self, annotation_id: str) -> list[int]:
        """Where the annotations of an id are; [] if there is none."""
        return self._places.get(annotation_id, [])

    def annotation(self, annotation_id: str, image_id: str) -> AnnotationRow:
        """The one annotation of that id; of several, the one of that image.

        RecordFault `annotation-missing`, `duplicate-id`, `image-mismatch` or whatever is wrong with its mask.
        """
        places = self.positions(annotation_id)
        if not places:
            raise RecordFault("annotation-missing", f"annotation {annotation_id} is not in {self.name}")
        of_image = [place for place in places if numbers.name(self.annotations[place].image_id) == image_id]
        if not of_image:
            other = self.annotations[places[0]].image_id
            detail = f"annotation {annotation_id} belongs to image {other}, the reference to image {image_id}"
            raise RecordFault("image-mismatch", detail[:300])
        first = self.annotations[of_image[0]]
        if any(self.annotations[place] != first for place in of_image[1:]):
            raise RecordFault("duplicate-id", f"{len(of_image)} annotations of that image have the id {annotation_id}")
        fault = self.faulty.get(of_image[0])
        if fault is not None:
            raise RecordFault(fault.reason, f"annotation {annotation_id}: {fault.detail}")
        return first

    def in_image(self, image_id: str) -> list[int]:
        """Where the annotations of an image are, as far as they were kept."""
        if self._of_image is None:
            self._of_image = {}
            for position, row in self.annotations.items():
                self._of_image.setdefault(numbers.name(row.image_id), []).append(position)
        return self._of_image.get(image_id, [])

    def category(self, row: AnnotationRow) -> list[str]:
        """Name of the annotation's category as a list of one, or of none if the file does not name it."""
        name = self.categories.get(str(row.category_id))
        return [name] if name else []

    def add_image(self, row: ImageRow) -> None:
        """Two images of one id are one if they agree; else nobody knows which of them is meant."""
        identity = str(row.id)
        there = self.images.setdefault(identity, row)
        if there != row:
            one, other = (f"{each.file_name[:99]} ({each.width}×{each.height})" for each in (there, row))
            self._twice[identity] = f"image {identity} is there twice, as {one} and {other}"

    def add_annotation(self, position: int, row: AnnotationRow) -> None:
        """Keep an annotation, and what is wrong with its mask."""
        self.annotations[position] = row
        if row.id is not None:
            self._places.setdefault(str(row.id), []).append(position)
        try:
            row.segmentation = checked_segmentation(row.segmentation)
        except RecordFault as fault:
            row.segmentation = ABSENT
            if position not in self.faulty:
                self.faulty[position] = fault


def load_instances(
    path: Path,
    name: str,
    images: Container[str] | None = None,
    annotations: Container[str] | None = None,
    encoding: str = "",
    *,
    others: bool = False,
) -> Instances:
    """Read an instances file, keeping the images and annotations whose ids are in the containers; None keeps all.

    others: all annotations of the images that are kept are kept too. encoding: a second one, for a file that is not UTF-8.
    StampError if the file as a whole is unreadable.
    """
    file = load_json(path, _File, encoding=encoding)
    found = Instances(name)
    for position, raw in numbered(file.images):
        try:
            image = read_image(raw)
        except RecordFault as fault:
            found.broken.add(name, f"images[{position}]", fault.reason, fault.detail)
            continue
        found.telling.update(telling_keys(raw) if images is None else ())
        if images is None or str(image.id) in images:
            found.add_image(image)
    rows = ((f"categories[{position}]", raw) for position, raw in numbered(file.categories))
    for record, category in decode_rows(rows, _CategoryRow, "bad-annotation", name, found.broken):
        identity = numbers.name(category.id)
        if found.categories.setdefault(identity, category.name) != category.name:
            found.categories[identity] = ""  # nobody knows which of them is meant
            found.broken.add(name, record, "duplicate-id", f"another name for category {identity}")
    for position, raw in numbered(file.annotations):
        _read_annotation(raw, position, found, annotations, others)
    if annotations is None:
        rows = ((f"refs[{position}]", raw) for position, raw in numbered(file.refs))
        found.refs = [ref for _, ref in decode_rows(rows, RefRow, "bad-reference", name, found.broken, expressions=1)]
    return found


def _read_annotation(
    raw: msgspec.Raw, position: int, found: Instances, wanted: Container[str] | None, others: bool
) -> None:
    unsaid: list[RecordFault] = []
    unread: list[RecordFault] = []
    try:
        row = read_annotation(raw, unsaid, unread)
    except RecordFault as why:
        found.broken.add(found.name, f"annotations[{position}]", why.reason, why.detail)
        return
    is_other = others and numbers.name(row.image_id) in found.images
    if wanted is not None and str(row.id) not in wanted and not is_other:
        return
    if wanted is None and all(said is None for said in (row.expression, row.expressions, row.caption)):
        found.telling.update(telling_keys(raw))
    if unsaid:
        found.unsaid[position] = unsaid
    if unread:
        found.faulty[position] = unread[0]
    found.add_annotation(position, row)
