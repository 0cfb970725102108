"""Tables as comma-separated values from strangers: bounded, and with any usual delimiter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from stamp_data.sources.jsonfile import OTHER_FORMAT, SMALL_LIMIT, UTF16, as_utf8, read_buffer
from stamp_schemas import StampError

_HEAD = 1 << 16  # bytes
_REMARK = "#"  # that VIA 1 puts before the names of the columns
BEYOND = "\0beyond"
"""What cells are called that follow the last column: mostly the rest of a text with a comma that has no quotes."""


def header(path: Path) -> list[str]:
    """Names of the columns, [] if there are none; StampError if the file cannot be read."""
    head = bytes(read_buffer(path)[:_HEAD])
    try:
        # as spreadsheets write "Unicode text"; whoever reads the rows is told which encoding to name
        text = head.decode("utf-16", "ignore") if head[:2] in UTF16 else head.partition(b"\n")[0].decode("utf-8-sig")
        line = text.partition("\n")[0].removeprefix(_REMARK)
        return next(csv.reader([line], delimiter=_delimiter(line)), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def rows(path: Path, encoding: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """(place, cells by the names of their columns) of every row, which may be short. StampError for what is no such table."""
    csv.field_size_limit(SMALL_LIMIT)  # of the whole process: outlines of VIA in one cell exceed Python's 128 KiB
    text = bytes(as_utf8(read_buffer(path), path, encoding)).decode("utf-8").removeprefix(_REMARK)
    delimiter = _delimiter(text.partition("\n")[0])
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey=BEYOND, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if twice := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
            raise StampError(f"{path}: several columns are called {twice[0][:40]!r}", "rename all but one of them")
        for row in reader:
            cells = {name: cell for name, cell in row.items() if isinstance(cell, str)}
            beyond = "".join(row.get(BEYOND) or []).strip()
            yield f"line {reader.line_num}", cells | ({BEYOND: beyond} if beyond else {})
    except csv.Error as fault:
        raise StampError(f"{path}: line {reader.line_num}: {fault}", OTHER_FORMAT) from None


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)
