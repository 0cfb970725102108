"""`index.parquet`: one row per record; enough to plan training and to read any member without scanning a tar."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stamp_data.shards.manifest import INDEX
from stamp_data.shards.row import MEMBERS, IndexRow
from stamp_data.shards.stores import Location, Store, is_url, open_store
from stamp_schemas import StampError
from stamp_schemas.errors import first_line

__all__ = ["MEMBERS", "SCHEMA", "IndexRow", "open_index", "read_rows", "read_table", "told", "typed", "write_index"]

FEW_ROWS = 1 << 20  # of which no file is too small to be believed
DAMAGE = (pa.ArrowException, msgspec.MsgspecError, ValueError, OverflowError)
"""What comes of an index whose bytes are not those that were written: names and texts that are no text, sizes beyond reason."""

_INT_LIST = pa.list_(pa.field("element", pa.int32(), nullable=False))
SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("image_extension", pa.string(), nullable=False),
        *(
            pa.field(f"{member}_{what}", kind, nullable=False)
            for member in MEMBERS
            for what, kind in (("offset", pa.int64()), ("bytes", pa.int32()), ("xxh3", pa.uint64()))
        ),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("grid_height", pa.int16(), nullable=False),
        pa.field("grid_width", pa.int16(), nullable=False),
        pa.field("image_tokens", pa.int32(), nullable=False),
        pa.field("dialogues", pa.int32(), nullable=False),
        pa.field("targets", pa.int32(), nullable=False),
        pa.field("foreground", pa.float32(), nullable=False),
        pa.field("turns", _INT_LIST, nullable=False),
        pa.field("masks", _INT_LIST, nullable=False),
        pa.field("text_chars", _INT_LIST, nullable=False),
        pa.field("text_tokens", _INT_LIST, nullable=True),
    ]
)
assert tuple(SCHEMA.names) == IndexRow.__struct_fields__


def write_index(path: Path, shards: Iterable[list[IndexRow]]) -> None:
    """Write `index.parquet`, one row group per shard, so that a reader can take one shard's rows alone."""
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=False) as writer:
        for rows in shards:
            columns = [_column(field.type, [getattr(row, field.name) for row in rows]) for field in SCHEMA]
            writer.write_table(pa.table(columns, schema=SCHEMA))
    with path.open("r+b") as file:
        # It will be renamed into a set, and the manifest that vouches for it reaches the disk by itself.
        os.fsync(file.fileno())


def _column(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """What `pa.array` makes of values of a kind that SCHEMA has; that would import pandas, at the cost of 400 records."""
    count = len(values)
    if pa.types.is_string(kind):
        values = [value.encode() for value in values]
    elif not pa.types.is_list(kind):
        return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(np.array(values, kind.to_pandas_dtype()))])
    there = np.packbits([value is not None for value in values], bitorder="little")
    ends = np.cumsum([0, *(len(value or ()) for value in values)], dtype=np.int32)
    layout = [pa.py_buffer(there), pa.py_buffer(ends)]
    if pa.types.is_string(kind):
        return pa.Array.from_buffers(kind, count, [*layout, pa.py_buffer(b"".join(values))])
    items = _column(kind.value_type, [item for value in values for item in value or ()])
    return pa.Array.from_buffers(kind, count, layout, children=[items])


def read_table(place: Location, columns: list[str] | None = None) -> pa.Table:
    """The index of a set as an arrow table (some columns, or all of ours); StampError if it is not an index of this schema."""
    store, columns = open_store(place), columns or SCHEMA.names
    with told(store):
        parquet = open_index(store, columns)
        # Not in arrow's threads: one that lets go of our file while the interpreter ends takes the process down with it.
        table = parquet.read(columns=columns, use_threads=False)
        table.validate(full=True)  # that texts are UTF-8 and lists end where they say: nothing below would notice
        for name in columns:
            if table.column(name).null_count and not SCHEMA.field(name).nullable:
                raise ValueError(f"column {name!r} lacks values")
        return table


def open_index(store: Store, columns: Sequence[str]) -> pq.ParquetFile:
    """The index, of which nothing but the footer is read. StampError if that is not one with these columns."""
    with told(store):
        parquet = pq.ParquetFile(store.seekable(INDEX), pre_buffer=is_url(store))
        schema, rows, size = parquet.schema_arrow, parquet.metadata.num_rows, store.size(INDEX)
    for name in columns:
        if schema.names.count(name) != 1 or schema.field(name).type != SCHEMA.field(name).type:
            raise StampError(
                f"{store}/{INDEX}: column {name!r} is missing or of another type", "built by another version?"
            )
    if rows > max(size, FEW_ROWS):  # every row has a hash of its own, which no compression makes smaller
        raise StampError(f"{store}/{INDEX}: claims {rows:,} rows in {size:,} bytes", "built by another program?")
    return parquet


@contextmanager
def told(store: Store) -> Iterator[None]:
    """What is said of an index that cannot be read, as one StampError."""
    try:
        yield
    except (*DAMAGE, OSError) as fault:
        raise StampError(f"{store}/{INDEX}: not a readable index: {first_line(fault)}") from None


def read_rows(place: Location) -> list[IndexRow]:
    """Every row of an index, typed; StampError as from `read_table`, or if a value is none that a column may hold."""
    store = open_store(place)
    with told(store):
        return typed(read_table(store))


def typed(table: pa.Table) -> list[IndexRow]:
    """Rows of an index as they are used. One of DAMAGE where the columns hold something else."""
    return msgspec.convert(table.to_pylist(), list[IndexRow])
