"""Parquet files of Hugging Face, opened without trust: bounded, without arrow's threads, and with every fault in one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stamp_data.sources.jsonfile import OTHER_FORMAT, WHOLE
from stamp_schemas import StampError

MOST_ROWS = 10_000_000


def opened(path: Path) -> Any:
    """The file as pyarrow's `ParquetFile`; StampError if it is none."""
    import pyarrow as pa  # half of what a command takes to start
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        _ = file.schema_arrow.names  # read only now, and as little to be trusted
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise StampError(f"{path}: no readable Parquet: {str(fault).splitlines()[0]}", WHOLE) from None
    return file


def batches(path: Path, columns: Sequence[str], rows: int = 4096) -> Iterator[Any]:
    """Record batches of so many rows at most; StampError where the file is damaged."""
    import pyarrow as pa

    file = opened(path)
    if file.metadata.num_rows > MOST_ROWS:
        raise StampError(
            f"{path}: {file.metadata.num_rows:,} rows, more than the {MOST_ROWS:,} that are read", OTHER_FORMAT
        )
    try:
        for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
            batch.validate(full=True)  # arrow takes texts that are no UTF-8, and fails when they are looked at
            yield batch
    except (pa.ArrowException, OSError) as fault:
        raise StampError(f"{path}: Parquet is damaged: {str(fault).splitlines()[0]}", WHOLE) from None


def pictures_within(schema: Any) -> bool:
    """Whether a Parquet file holds pictures as Hugging Face writes them: a column `image` of bytes with a path."""
    index = schema.get_field_index("image")
    kind = schema.field(index).type if index >= 0 else None
    return kind is not None and str(kind).startswith("struct<bytes: binary")
