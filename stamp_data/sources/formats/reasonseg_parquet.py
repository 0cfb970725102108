"""ReasonSeg as Parquet on Hugging Face, as Ricky06662 has it: a row per text, with its picture and its mask.

What ReasonSeg ignores is not in these files, nor whether a text is a phrase or a sentence: one that ends in `?` or `.` is
taken for a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.formats.parquet import batches, opened, pictures_within
from stamp_data.sources.jsonfile import OTHER_FORMAT
from stamp_schemas import Annotation, ImageRef, StampError

COLUMNS = ("text", "mask", "image_id", "img_height", "img_width")
ROWS = 4  # read together: a mask is a list of lists of truth values, 24 million of them in a large picture


class ReasonSegParquet(FormatSource):
    dataset = "reason_seg_parquet"
    licence = "Apache-2.0 (LISA); pictures: OpenImages (CC BY 2.0) and ScanNetv2 (its own terms)"
    homepage = "https://huggingface.co/datasets/Ricky06662/ReasonSeg_val"
    format = "Parquet"
    suffixes = (".parquet",)

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        return set(opened(path).schema_arrow.names) >= set(COLUMNS)

    def read(self, path: Path) -> list[Pictured]:
        if not self.is_mine(path):
            raise StampError(f"{path}: its columns are not {', '.join(COLUMNS)}", OTHER_FORMAT)
        within = pictures_within(opened(path).schema_arrow)
        found: list[Pictured] = []
        for batch in batches(path, COLUMNS, ROWS):
            columns = {name: batch.column(name) for name in COLUMNS}
            for place in range(batch.num_rows):
                row = {name: column[place] for name, column in columns.items()}
                found.append(_page(row, len(found), within))
        return found

    def pictures(self, document: list[Pictured], path: Path, rejects: RejectLog) -> Iterator[Pictured]:  # noqa: ARG002 - things tell
        yield from document

    def said(self, page: Pictured, file: str, image: ImageRef, rejects: RejectLog) -> Annotation | None:
        annotation = super().said(page, file, image, rejects)
        for request in annotation.requests if annotation else []:
            request.form = "question" if request.text.endswith(("?", ".")) else "description"
        return annotation


def _page(row: dict[str, Any], number: int, within: bool) -> Pictured:
    """One row, of arrow's values."""
    record = f"row {number}"
    text, identity = row["text"].as_py(), row["image_id"].as_py()
    thing = Thing(record, [text] if isinstance(text, str) else [])
    names = [f"{identity}.jpg"] if isinstance(identity, int | str) else []
    page = Pictured(record, names, [thing], id=str(identity), row=number if within else -1)
    try:
        height, width = (_side(row[key].as_py()) for key in ("img_height", "img_width"))
        page.height, page.width = height, width
        thing.segmentation = _segmentation(row["mask"], height, width)
    except RecordFault as fault:
        thing.fault = fault
    return page


def _side(value: object) -> int:
    if not isinstance(value, int):
        raise RecordFault("bad-image", "img_height and img_width are no sizes in pixels")
    return value


def _segmentation(mask: Any, height: int, width: int) -> Any:
    import numpy as np  # which a listing of datasets does without
    import pyarrow as pa

    from stamp_data.sources.formats import painted

    painted.check_size(height, width)
    rows = mask.values
    if (
        rows is None
        or not pa.types.is_list(rows.type)
        or not pa.types.is_boolean(rows.type.value_type)
        or rows.null_count
    ):
        raise RecordFault("bad-shape", "the mask is no list of rows of truth values")
    lengths = rows.value_lengths().to_numpy(zero_copy_only=False)
    pixels = rows.flatten().to_numpy(zero_copy_only=False)
    if len(lengths) != height or (lengths != width).any() or pixels.dtype != np.bool_:
        raise RecordFault("bad-shape", f"the mask is not of {width}×{height} pixels")
    if not pixels.any():
        raise RecordFault("bad-shape", "the mask has no pixel")
    return painted.encoded(pixels.reshape(height, width))
