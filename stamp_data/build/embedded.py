"""Pictures inside annotation files: in labelme's JSON, or in a row of a Parquet file as Hugging Face writes them."""

from __future__ import annotations

import base64
import binascii
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from stamp_data.files import NO_SUCH_FILE, UNDECODABLE, Stamp
from stamp_data.picture import MAX_BYTES, PictureFault, inside, read_file

COLUMN = "image"
LARGEST_GROUP = 1 << 30  # bytes of pictures that are read together; Hugging Face writes some hundred pictures


class _Embedding(msgspec.Struct):
    """What of a labelme file is wanted here."""

    data: str = msgspec.field(name="imageData")


_EMBEDDING = msgspec.json.Decoder(_Embedding)


def read_embedded(root: Path, relative: str, row: int, follow_links: bool) -> tuple[bytes, Stamp]:
    """The picture in a file, see `read_file`, and the stamp of that file. row: of a Parquet file, -1 for labelme's JSON.

    PictureFault if there is none.
    """
    if row < 0:
        data, found = read_file(root, relative, follow_links)
        return _of_labelme(data, relative), found
    path = Path(inside(root, relative, follow_links))
    try:
        status = path.stat()
        found = Stamp(status.st_size, status.st_mtime_ns)
        return _of_row(path, found, row, relative), found
    except OSError as fault:
        if fault.errno in NO_SUCH_FILE:
            raise PictureFault("picture-missing", f"{relative}: no such file") from None
        raise


def _of_labelme(data: bytes, name: str) -> bytes:
    """The picture in a labelme file, wrapped into lines or with the head of a data URI."""
    try:
        found = base64.b64decode(_EMBEDDING.decode(data).data.rpartition("base64,")[2])
    except (*UNDECODABLE, binascii.Error, ValueError):
        found = b""
    if not found:
        raise PictureFault("picture-broken", f"{name}: its imageData is no picture in base64")
    return found


def _of_row(path: Path, found: Stamp, row: int, name: str) -> bytes:
    import pyarrow as pa  # half of what a command takes to start

    try:
        starts = _starts(path, found)
        group = next(number for number, start in enumerate(starts[1:]) if row < start)
        data = _pictures(path, found, group)[row - starts[group]]
    except (pa.ArrowException, StopIteration, IndexError, ValueError) as fault:
        raise PictureFault("picture-broken", f"{name}: row {row}: {str(fault).partition(chr(10))[0]}") from None
    if data is None or len(data) > MAX_BYTES:
        raise PictureFault(
            "picture-broken", f"{name}: row {row} holds no picture, or one of more than {MAX_BYTES >> 20} MiB"
        )
    return data


@lru_cache(maxsize=64)
def _starts(path: Path, found: Stamp) -> list[int]:  # noqa: ARG001 - a file that has changed is another
    """The first row of each group, and how many rows there are."""
    metadata = _opened(path).metadata
    starts = [0]
    for group in range(metadata.num_row_groups):
        starts.append(starts[-1] + metadata.row_group(group).num_rows)
    return starts


@lru_cache(maxsize=2)
def _pictures(path: Path, found: Stamp, group: int) -> list[bytes | None]:  # noqa: ARG001 - see above
    """All pictures of a group of rows: no fewer can be read. ValueError if it is too large."""
    file = _opened(path)
    if file.metadata.row_group(group).total_byte_size > LARGEST_GROUP:
        raise ValueError(f"more than {LARGEST_GROUP >> 30} GiB in one group of rows")
    table = file.read_row_group(group, columns=[f"{COLUMN}.bytes"], use_threads=False)
    cells = table.column(COLUMN).to_pylist()
    return [cell.get("bytes") if isinstance(cell, dict) else None for cell in cells]


def _opened(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path)
