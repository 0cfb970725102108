"""Tables as comma-separated values from strangers: bounded, and with any usual delimiter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from stamp_data.sources.jsonfile import OTHER_FORMAT, SMALL_LIMIT, as_utf8, read_buffer
from stamp_schemas import StampError

_HEAD = 1 << 16  # bytes


def header(path: Path) -> list[str]:
    """Names of the columns, [] if there are none; StampError if the file cannot be read."""
    head = bytes(read_buffer(path)[:_HEAD]).partition(b"\n")[0]
    try:
        line = head.decode("utf-8-sig")
        return next(csv.reader([line], delimiter=_delimiter(line)), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def rows(path: Path, encoding: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """(place, cells by the names of their columns) of every row, which may be short. StampError for what is no such table."""
    csv.field_size_limit(SMALL_LIMIT)  # of the whole process: outlines of VIA in one cell exceed Python's 128 KiB
    text = bytes(as_utf8(read_buffer(path), path, encoding)).decode("utf-8")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]), strict=True)
    try:
        for row in reader:
            yield f"line {reader.line_num}", {name: cell for name, cell in row.items() if isinstance(cell, str)}
    except csv.Error as fault:
        raise StampError(f"{path}: line {reader.line_num}: {fault}", OTHER_FORMAT) from None


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)
