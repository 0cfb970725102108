"""XML from strangers: bounded, and without document types, hence without entities that expand or read other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from stamp_data.sources.jsonfile import OTHER_FORMAT, UTF16, WHOLE, as_utf8, read_buffer
from stamp_schemas import StampError

LIMIT = 1 << 30  # bytes
DEEPEST = 64  # elements within each other
_DECLARED = re.compile(rb"""<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([A-Za-z][\w.-]{0,40})["']""")


def load_xml(path: Path, encoding: str = "") -> Element:
    """The outermost element. encoding: of a file that is not UTF-8; what it says itself, if not given.

    StampError for a file that is missing, too large, no XML, nested too deeply, or has a document type.
    """
    data = bytes(read_buffer(path, LIMIT))
    data = bytes(as_utf8(data, path, encoding or _said(data)))
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8")
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise StampError(f"{path}: nested too deeply", OTHER_FORMAT)
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: Any) -> None:
        raise StampError(f"{path}: has a document type (DOCTYPE), which may hide anything", "take that line out")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as fault:
        raise StampError(f"{path}: XML is damaged: {fault}", WHOLE) from None
    return builder.close()


def _said(data: bytes) -> str:
    """The encoding that a file says it is in, "" if it says none that is known."""
    if data[:2] in UTF16:
        return "utf-16"
    declared = _DECLARED.match(data)
    name = declared[1].decode() if declared else ""
    try:
        _ = name and b"x".decode(name)
        return name
    except (LookupError, UnicodeError):  # none that is known, or none of texts made of bytes
        return ""
