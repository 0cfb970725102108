"""Shard sets written record by record through the public writer, so that any of them can be as wrong as a test needs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stamp_data.shards.index import IndexRow, write_index
from stamp_data.shards.manifest import INDEX, MANIFEST, manifest_bytes, set_digest
from stamp_data.shards.row import described, placed
from stamp_data.shards.writer import ShardWriter
from stamp_schemas import Manifest, Record, Settings, ShardEntry, Totals
from stamp_schemas.manifest import MANIFEST_SCHEMA

SHARD = "shard-000000.tar"


@dataclass
class Made:
    """A record with its members, before it is written."""

    record: Record
    image: bytes = b""
    labels: Any = None


def write_records(folder: Path, made: Sequence[Made], *, tokens: bool = False, **settings: Any) -> Path:
    """Write records as the one shard of the set DATASET/SPLIT, of which `folder` is to be the place."""
    folder.mkdir(parents=True)
    with ShardWriter(folder / SHARD) as writer:
        rows = [_write(writer, one, number, tokens) for number, one in enumerate(made)]
    dialogues, targets = sum(row.dialogues for row in rows), sum(row.targets for row in rows)
    entry = ShardEntry(SHARD, writer.size, len(rows), dialogues, targets, writer.digest, "")
    write_index(folder / INDEX, [rows])
    dataset, split = folder.parts[-2:]
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        name=f"{dataset}/{split}",
        digest=set_digest([entry]),
        settings=Settings(dataset, "", split, tokenizer="x" if tokens else "", **settings),
        generator={},
        licence="CC0-1.0",
        homepage="",
        inputs=[],
        shards=[entry],
        totals=Totals(len(rows), dialogues, targets, entry.bytes, sum(row.image_tokens for row in rows), 0),
        files={},
    )
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    return folder


def _write(writer: ShardWriter, made: Made, number: int, tokens: bool) -> IndexRow:
    record, key = made.record, made.record.key
    extension = Path(record.image.file_name).suffix if record.image else ""
    members = {"image": made.image, "json": msgspec.json.encode(record), "labels": b""}
    if made.labels is not None:
        buffer = io.BytesIO()
        np.save(buffer, made.labels)
        members["labels"] = buffer.getvalue()
    names = {"image": f"{key}{extension}", "json": f"{key}.json", "labels": f"{key}.labels.npy"}
    spans = {kind: writer.add(names[kind], data) if data else (0, 0, 0) for kind, data in members.items()}
    values = described(record, extension[1:] if made.image else "") | placed(spans)
    values["masks"] = [len(dialogue.targets) for dialogue in record.dialogues]  # also where an answer has fewer
    if made.labels is not None:  # which need not be those of the record
        targets, height, width = made.labels.shape
        values |= {"targets": targets, "grid_height": height, "grid_width": width, "image_tokens": height * width}
    counted = [11 for _ in record.dialogues] if tokens else None
    return IndexRow(shard=SHARD, row=number, key=key, foreground=0.0, text_tokens=counted, **values)
