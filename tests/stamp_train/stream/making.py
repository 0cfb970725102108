"""Shard sets for the tests of the stream: made-up ones of index and manifest alone, and what real ones are read with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from blake3 import blake3
from PIL import Image
from torch import Tensor

from stamp_data.grid import patch_grid
from stamp_data.shards.index import SCHEMA, IndexRow, write_index
from stamp_data.shards.manifest import INDEX, MANIFEST, manifest_bytes, set_digest
from stamp_schemas import Manifest, Settings, ShardEntry, Totals
from stamp_schemas.manifest import MANIFEST_SCHEMA
from stamp_train.methods.stamp.settings import StampSettings

MIN_TOKENS, MAX_TOKENS = 16, 64
METHOD = StampSettings(head="patch").method()


def write_set(
    folder: Path,
    shards: Sequence[Sequence[int]],
    *,
    seed: int = 0,
    tokens: bool = True,
    pictures: bool = True,
    masks: Sequence[int] = (0, 1, 2),
) -> str:
    """A set whose shards have records of so many dialogues, each of one of those numbers of masks. No tars.

    Lengths are drawn by `seed`. Returns the folder.
    """
    rng = np.random.default_rng(seed)
    rows, entries = [], []
    for number, records in enumerate(shards):
        name = f"shard-{number:06d}.tar"
        rows.append(
            [_row(name, row, count, rng, tokens, masks if pictures else ()) for row, count in enumerate(records)]
        )
        digest = blake3(f"{folder.name} {seed} {name} {list(records)}".encode()).hexdigest()
        entries.append(ShardEntry(name, 10**6, len(records), sum(records), 0, digest, ""))
    folder.mkdir(parents=True, exist_ok=True)
    write_index(folder / INDEX, rows)
    return _write_manifest(folder, entries)


def write_vast_set(folder: Path, shards: int, records: int, dialogues: int) -> str:
    """A set of any size within seconds: all its shards have the rows of one, and its name. No tars."""
    rng = np.random.default_rng(0)
    some = [_row("shard-000000.tar", row, dialogues, rng, True, (1,)) for row in range(min(records, 512))]
    columns = {field.name: [getattr(one, field.name) for one in some] for field in SCHEMA}
    table = pa.concat_tables([pa.table(columns, schema=SCHEMA)] * -(-records // len(some)))[:records].combine_chunks()
    with pq.ParquetWriter(folder / INDEX, SCHEMA, use_dictionary=False, write_statistics=False) as writer:
        for _ in range(shards):
            writer.write_table(table)
    many = records * dialogues
    return _write_manifest(
        folder, [ShardEntry("shard-000000.tar", 10**6, records, many, 0, f"{n:064x}", "") for n in range(shards)]
    )


def _write_manifest(folder: Path, entries: list[ShardEntry]) -> str:
    manifest = Manifest(
        schema=MANIFEST_SCHEMA,
        name=f"{folder.name}/train",
        digest=set_digest(entries),
        settings=Settings(folder.name, "", "train"),
        generator={},
        licence="",
        homepage="",
        inputs=[],
        shards=entries,
        totals=Totals(),
        files={},
    )
    (folder / MANIFEST).write_bytes(manifest_bytes(manifest))
    return str(folder)


def _row(
    shard: str, row: int, dialogues: int, rng: np.random.Generator, tokens: bool, choice: Sequence[int]
) -> IndexRow:
    pictures = bool(choice)
    grid = (int(rng.integers(26, 34)), 38) if pictures else (0, 0)
    masks = rng.choice(choice, dialogues).tolist() if pictures else [0] * dialogues
    return IndexRow(
        shard=shard,
        row=row,
        key=f"made-{shard[6:12]}-{row:06d}",
        image_extension="jpg" if pictures else "",
        image_offset=512 if pictures else 0,
        image_bytes=100 if pictures else 0,
        image_xxh3=1,
        json_offset=1536,
        json_bytes=100,
        json_xxh3=2,
        labels_offset=0,
        labels_bytes=0,
        labels_xxh3=0,
        width=640,
        height=480,
        grid_height=grid[0],
        grid_width=grid[1],
        image_tokens=grid[0] * grid[1],
        dialogues=dialogues,
        targets=dialogues,
        foreground=0.1,
        turns=[2] * dialogues,
        masks=masks,
        text_chars=rng.integers(60, 200, dialogues).tolist(),
        text_tokens=rng.integers(20, 60, dialogues).tolist() if tokens else None,
    )


def prepare(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
    """Stands in for the model's processor: the mean colour of every 14-pixel patch. Depends on every pixel."""
    grid = patch_grid(image.height, image.width, MIN_TOKENS, MAX_TOKENS)
    height, width = 2 * grid.height, 2 * grid.width
    small = image.resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, np.float32).reshape(height * width, 3).copy()), (1, height, width)
