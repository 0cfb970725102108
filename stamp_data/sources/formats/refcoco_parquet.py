"""RefCOCO, RefCOCO+ and RefCOCOg as Parquet on Hugging Face: the layouts of jxu124, lmms-lab and moondream, as local files.

Pictures are COCO's, looked for as for RefCOCO; where they are not there, those inside the files of lmms-lab and moondream are
taken. Every reference is a target of its own, as in REFER: two that share a sentence stay two. lmms-lab's keep one polygon of
each mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.formats.parquet import batches, opened, pictures_within
from stamp_data.sources.jsonfile import OTHER_FORMAT, checked_segmentation, decode_row
from stamp_data.sources.refer import COCO_FOLDERS, SHARED_COCO_FOLDERS, make_unique
from stamp_data.sources.references import checked_text
from stamp_schemas import Annotation, ImageRef, Region, Request, StampError, Target

_OF_ANNOTATION = re.compile(
    r"(COCO_(?:train|val)2014_\d{12})_\d+(\.jpg)"
)  # REFER's file_name: the picture's, and an annotation
_JXU124 = ("sentences", "raw_anns", "raw_image_info", "split", "image_id", "ref_id", "ann_id")
_LMMS = ("answer", "segmentation", "file_name", "question_id")
_MOONDREAM = ("samples", "file_name", "image_id")
_Row = Mapping[str, Any]


class _Image(msgspec.Struct):
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(msgspec.Struct):
    segmentation: msgspec.Raw


class RefCOCOParquet(FormatSource):
    dataset = "refcoco_parquet"
    licence = "annotations CC BY 4.0 (COCO), expressions Apache-2.0 (refer); pictures under their Flickr licences"
    homepage = "https://huggingface.co/datasets/jxu124/refcoco"
    numbered = True
    format = "Parquet"
    usual_folders = (*FormatSource.usual_folders, *COCO_FOLDERS, *SHARED_COCO_FOLDERS)
    suffixes = (".parquet",)

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        return bool(_columns(path))

    def read(self, path: Path) -> list[_Row]:
        columns = _columns(path)
        if not columns:
            raise StampError(f"{path}: its columns are none of a known layout", OTHER_FORMAT)
        return [row for batch in batches(path, columns) for row in batch.to_pylist()]

    def splits_in(self, document: list[_Row]) -> Iterator[str]:
        return map(_split, document)

    def pictures(self, document: list[_Row], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        has_pictures = pictures_within(opened(path).schema_arrow)
        for number, row in enumerate(document):
            record = f"row {number}"
            try:
                page = _of_samples(row, record) if "samples" in row else _of_reference(row, record)
            except (KeyError, TypeError, AttributeError, ValueError) as fault:
                reason = fault.reason if isinstance(fault, RecordFault) else "bad-reference"
                detail = str(fault) if isinstance(fault, ValueError) else "a value is absent, or of the wrong type"
                rejects.add(self.name_of(path), record, reason, detail)
                continue
            page.split, page.row = _split(row), number if has_pictures else -1
            yield page

    def said(self, page: Pictured, file: str, image: ImageRef, rejects: RejectLog) -> Annotation | None:
        """A target per reference, whatever else is called the same."""
        annotation = Annotation(storable(page.id), (file, page.record), image)
        for thing in page.things:
            where = file, thing.record
            try:
                if thing.fault or thing.segmentation is None:
                    raise thing.fault or RecordFault("bad-segmentation", "no segmentation")
                texts = [checked_text(text) for text in thing.phrases]
            except RecordFault as fault:
                rejects.add(*where, fault.reason, fault.detail, expressions=len(thing.phrases))
                continue
            place = len(annotation.targets)
            annotation.targets.append(Target(thing.instance, [Region(thing.segmentation, where)], [thing.instance], []))
            annotation.requests += [
                Request(f"{thing.instance}.{n}", text, [place], where) for n, text in enumerate(texts)
            ]
        make_unique(annotation.targets)
        make_unique(annotation.requests)
        return annotation if annotation.requests else None


def _split(row: _Row) -> str:
    said = row.get("split")
    return storable(said) if isinstance(said, str) else ""


def _of_reference(row: _Row, record: str) -> Pictured:
    """A row of jxu124 or lmms-lab. What its types are not raises KeyError, TypeError, AttributeError or ValueError."""
    if "raw_anns" in row:
        info = decode_row(msgspec.Raw(row["raw_image_info"].encode()), _Image, "bad-image")
        thing = Thing(record, [one["sent"] for one in row["sentences"]], instance=numbers.name(row["ann_id"]))
        page = Pictured(record, [info.file_name], [thing], info.width, info.height, id=numbers.name(row["image_id"]))
        raw = msgspec.Raw(row["raw_anns"].encode())
    else:
        name = _OF_ANNOTATION.sub(r"\1\2", row["file_name"])
        thing = Thing(record, _texts(row["answer"]), instance=numbers.name(row["question_id"]))
        page = Pictured(record, [name], [thing], id=name.rpartition(".")[0] or name)
        raw = msgspec.Raw(msgspec.json.encode({"segmentation": [row["segmentation"]]}))
    thing.take(_segmentation, raw)
    return page


def _segmentation(raw: msgspec.Raw) -> msgspec.Raw:
    return checked_segmentation(decode_row(raw, _Annotation, "bad-annotation").segmentation)


def _of_samples(row: _Row, record: str) -> Pictured:
    """A row of moondream: a picture with all its references."""
    page = Pictured(record, [row["file_name"]], [], id=numbers.name(row["image_id"]))
    for number, sample in enumerate(row["samples"]):
        mask = sample["mask"]
        counts = mask["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        segmentation = msgspec.Raw(msgspec.json.encode({"size": mask["size"], "counts": counts}))
        place = f"{record} samples[{number}]"
        page.things.append(Thing(place, _texts(sample["sentences"]), segmentation, numbers.name(sample["id"])))
    return page


def _texts(value: list[Any]) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise RecordFault("bad-sentence", "sentences are no list of texts")
    return value


def _columns(path: Path) -> list[str]:
    """The columns to read of a file in a known layout, else []. StampError if it is no Parquet."""
    names = set(opened(path).schema_arrow.names)
    return next((list(layout) for layout in (_JXU124, _LMMS, _MOONDREAM) if names >= set(layout)), [])
