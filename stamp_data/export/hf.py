"""A Hugging Face dataset: Parquet with typed columns, and a README that tells `datasets.load_dataset` what is where.

    README.md                                   one configuration per set, its splits
    <set>/<split>-00000-of-00047.parquet        one file per shard

Columns: `key`; `image`, an Image feature with the original bytes, null for text-only conversations; `overlay`, the picture
with its masks drawn over it, small, which is what the hub's viewer shows of them, null where there is none; `expressions`,
those in it, for searching; `record`, the record as in the shard, JSON; `labels`, the patch labels, null without targets.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stamp_data import rle as rles
from stamp_data.draw.overlay import Layer, overlaid
from stamp_data.draw.palette import colours, rgb
from stamp_data.export.base import STORED, Format, Place, image_name
from stamp_data.export.report import Tally
from stamp_data.picture import PictureFault
from stamp_data.pixels import encoded, thumbnail
from stamp_data.shards.reader import Loaded
from stamp_schemas import StampError

SIDE = 512  # pixels of an overlay at most
QUALITY = 80  # of its JPEG
ROWS = 64  # per row group: a reader that wants one picture reads this many

_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")  # what means something else in a pattern for files; splits are stricter
_TEXT = pa.string(), {"dtype": "string", "_type": "Value"}
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"_type": "Image"}
_COLUMNS: dict[str, tuple[Any, Any]] = {
    "key": _TEXT,
    "image": _PICTURE,
    "overlay": _PICTURE,
    "expressions": (pa.list_(pa.string()), [_TEXT[1]]),
    "record": _TEXT,
    "labels": (pa.list_(pa.list_(pa.list_(pa.uint8()))), [[[{"dtype": "uint8", "_type": "Value"}]]]),
}
"""Type in Parquet, and in `datasets`: lists as lists, a notation that every version of it understands."""
_FEATURES = {name: feature for name, (_, feature) in _COLUMNS.items()}
_METADATA = {b"huggingface": msgspec.json.encode({"info": {"features": _FEATURES}})}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in _COLUMNS.items()], metadata=_METADATA)


class HuggingFace(Format):
    name = "hf"
    notes = (f"{STORED}; `datasets` turns pictures by EXIF when it decodes them: Image(decode=False) gives the bytes",)

    def __init__(self, out: Path, tally: Tally, polygons: bool) -> None:
        super().__init__(out, tally, polygons)
        self._places: list[Place] = []
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def begin(self, place: Place) -> None:
        dataset, split = _UNSAFE.sub("_", place.dataset), re.sub(r"[^A-Za-z0-9_]", "_", place.split)
        if (dataset, split) in ((other.dataset, other.split) for other in self._places):
            raise StampError(f"{place.manifest.name}: Hugging Face datasets take its name for that of another set")
        (self.out / dataset).mkdir(exist_ok=True)
        self._places.append(Place(place.shards, dataset, split))
        self._shard, self._files = "", 0

    def add(self, loaded: Loaded) -> None:
        record, labels = loaded.record, loaded.labels
        if loaded.row.shard != self._shard:
            self._next_file(loaded.row.shard)
        picture = {"bytes": loaded.image, "path": image_name(loaded)} if loaded.image is not None else None
        self._rows.append(
            {
                "key": record.key,
                "image": picture,
                "overlay": _overlay(loaded),
                "expressions": list(
                    dict.fromkeys(said for one in record.dialogues for said in one.expressions or [""])
                ),
                "record": msgspec.json.encode(record).decode(),
                "labels": labels.tolist() if labels is not None else None,
            }
        )
        if len(self._rows) == ROWS:
            self._flush()
        self.tally.hold(**self.counted(loaded))

    def _next_file(self, shard: str) -> None:
        self._close_file()
        self._shard = shard
        self._writer = pq.ParquetWriter(self._path(self._files), SCHEMA, compression="zstd")
        self._files += 1

    def _path(self, number: int, end: str = "") -> Path:
        place = self._places[-1]
        return self.out / place.dataset / f"{place.split}-{number:05d}{end}.parquet"

    def _flush(self) -> None:
        if self._rows and self._writer is not None:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows = []

    def _close_file(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def end(self) -> None:
        """Close the last file; only now is it known how many there are, which their names say."""
        self._close_file()
        for number in range(self._files):
            self._path(number).rename(self._path(number, f"-of-{self._files:05d}"))

    def finish(self) -> None:
        """Write README.md. A set of which nothing was kept has no file to be named."""
        lines = ["---", "configs:"]
        filled = [place for place in self._places if any((self.out / place.dataset).glob(f"{place.split}-*"))]
        for name in dict.fromkeys(place.dataset for place in filled):
            lines += [f'- config_name: "{name}"', "  data_files:"]
            for place in filled:
                if place.dataset == name:
                    lines += [f'  - split: "{place.split}"', f'    path: "{name}/{place.split}-*.parquet"']
        lines += ["---", "", "# Referring segmentation, exported from shard sets", ""]
        for place in self._places:
            manifest, totals = place.manifest, place.manifest.totals
            counts = (
                f"{totals.records:,} records, {totals.dialogues:,} dialogues, {totals.targets:,} targets in the set"
            )
            lines.append(f"- {manifest.name}: {counts}; {manifest.licence}; {manifest.homepage}; {manifest.digest}")
        (self.out / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _overlay(loaded: Loaded) -> dict[str, Any] | None:
    """The picture, small, with its masks in their colours; None where there is no mask."""
    targets = [target for target in loaded.record.targets if target.area]
    if loaded.image is None or not targets:
        return None
    name = image_name(loaded)
    try:
        picture = thumbnail(loaded.image, name, SIDE)
    except PictureFault as fault:
        raise StampError(fault.message, "stamp-data verify says what else is damaged") from None
    tints = map(rgb, colours([target.id for target in targets]))
    layers = [Layer(rles.decode(target.rle), tint) for target, tint in zip(targets, tints, strict=True)]
    drawn = encoded(overlaid(picture, layers, "mask"), "JPEG", quality=QUALITY)
    return {"bytes": drawn, "path": f"{loaded.row.key}-overlay.jpg"}
