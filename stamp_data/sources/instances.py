"""COCO-style instances files: images, annotations and categories, of which only what is wanted is kept."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import msgspec

from stamp_data.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import checked_segmentation, decode_row, load_json, numbered


class ImageRow(msgspec.Struct):
    """An entry of `images`; sizes in pixels, None where the file leaves them out."""

    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class AnnotationRow(msgspec.Struct):
    """An entry of `annotations`. The last three are what one's own data may carry as a phrase."""

    id: int | str
    image_id: int | str
    segmentation: msgspec.Raw = msgspec.Raw()
    category_id: int | str | None = None
    expression: str | None = None
    expressions: list[str] | None = None
    caption: str | None = None


class CategoryRow(msgspec.Struct):
    id: int | str
    name: str


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw] = []


_IMAGE = msgspec.json.Decoder(ImageRow)
_ANNOTATION = msgspec.json.Decoder(AnnotationRow)
_CATEGORY = msgspec.json.Decoder(CategoryRow)


class Instances:
    """The wanted part of one instances file, by id as text ("7" and 7 are the same id).

    name: how reject rows call the file. broken: rows for entries that cannot be used, valid for every split.
    faulty: what is wrong with the segmentation of an annotation that is otherwise known.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.images: dict[str, ImageRow] = {}
        self.annotations: dict[str, AnnotationRow] = {}
        self.categories: dict[str, str] = {}
        self.faulty: dict[str, RecordFault] = {}
        self.broken = RejectLog()

    def image(self, image_id: str) -> ImageRow:
        """RecordFault `image-missing` or `bad-image`."""
        row = self.images.get(image_id)
        if row is None:
            raise RecordFault("image-missing", f"image {image_id} is not in {self.name}")
        for side in (row.width, row.height):
            if side is not None and side <= 0:
                raise RecordFault("bad-image", f"image {image_id} is said to have {row.width}×{row.height} pixels")
        return row

    def annotation(self, annotation_id: str) -> AnnotationRow:
        """RecordFault `annotation-missing` or whatever is wrong with it."""
        row = self.annotations.get(annotation_id)
        if row is None:
            raise RecordFault("annotation-missing", f"annotation {annotation_id} is not in {self.name}")
        fault = self.faulty.get(annotation_id)
        if fault is not None:
            raise RecordFault(fault.reason, f"annotation {annotation_id}: {fault.detail}")
        return row

    def category(self, row: AnnotationRow) -> list[str]:
        """Name of the annotation's category as a list of one, or of none if the file does not name it."""
        name = self.categories.get(str(row.category_id))
        return [name] if name else []


def load_instances(
    path: Path, name: str, images: Container[str] | None = None, annotations: Container[str] | None = None
) -> Instances:
    """Read an instances file, keeping the images and annotations whose ids are in the containers; None keeps all.

    Of equal ids the first is used. StampError if the file as a whole is unreadable.
    """
    file = load_json(path, _File)
    found = Instances(name)
    for position, raw in numbered(file.images):
        _add_image(found, position, raw, images)
    for position, raw in numbered(file.categories):
        try:
            category = decode_row(raw, _CATEGORY, "bad-annotation")
        except RecordFault as fault:
            found.broken.add(name, f"categories[{position}]", fault.reason, fault.detail)
            continue
        found.categories.setdefault(str(category.id), category.name)
    for position, raw in numbered(file.annotations):
        _add_annotation(found, position, raw, annotations)
    return found


def _add_image(found: Instances, position: int, raw: msgspec.Raw, wanted: Container[str] | None) -> None:
    try:
        row = decode_row(raw, _IMAGE, "bad-image")
    except RecordFault as fault:
        found.broken.add(found.name, f"images[{position}]", fault.reason, fault.detail)
        return
    identity = str(row.id)
    if wanted is not None and identity not in wanted:
        return
    if identity in found.images:
        found.broken.add(found.name, f"images[{position}]", "duplicate-id", f"a second image {identity}")
        return
    found.images[identity] = row


def _add_annotation(found: Instances, position: int, raw: msgspec.Raw, wanted: Container[str] | None) -> None:
    try:
        row = decode_row(raw, _ANNOTATION, "bad-annotation")
    except RecordFault as fault:
        found.broken.add(found.name, f"annotations[{position}]", fault.reason, fault.detail)
        return
    identity = str(row.id)
    if wanted is not None and identity not in wanted:
        return
    if identity in found.annotations:
        found.broken.add(found.name, f"annotations[{position}]", "duplicate-id", f"a second annotation {identity}")
        return
    found.annotations[identity] = row
    try:
        row.segmentation = checked_segmentation(row.segmentation)
    except RecordFault as fault:
        row.segmentation = msgspec.Raw()
        found.faulty[identity] = fault
