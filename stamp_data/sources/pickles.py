"""Pickles of plain data, read without trusting them.

Before anything is unpickled, the opcodes are walked and only those that build lists, dictionaries, texts and bounded
numbers are admitted: nothing that imports, calls, or refers to the outside, no tuples (hashing deeply nested ones overruns
the C stack), and no memo index that would make the unpickler allocate a table of gigabytes. Opcodes that carry no length
are taken in one regular expression, so that the walk costs less than the unpickling. Files that name numpy or hold tuples go
to `numpickles.py`, which knows them and takes longer.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
from pathlib import Path
from typing import NoReturn

from stamp_data.sources.jsonfile import read_buffer
from stamp_schemas import StampError

PICKLE_LIMIT = 250 << 20  # bytes; the published ones have up to 60 MB
CONTAINER_LIMIT = 8_000_000  # lists and dictionaries; the published ones have up to 700,000

# Arguments: none; a line (text, memo index, number); two, three, five and nine bytes.
_PLAIN_RUN = re.compile(
    rb"(?:[(0-2N\]}aedlsu\x88\x89\x94]"
    rb"|[SVF][^\n]*+\n|[pg]\d{1,7}\n|I-?\d{1,18}\n|L-?\d{1,18}L?\n"
    rb"|[Kqh\x80].|M..|[Jj].{4}|r.{3}\x00|[G\x95].{8})*+",
    re.DOTALL,
)
# Opcode -> bytes of the length that stands before its data.
_COUNTED = {b"X": 4, b"T": 4, b"B": 4, b"\x8c": 1, b"U": 1, b"C": 1, b"\x8a": 1, b"\x8d": 8, b"\x8e": 8}
_TUPLES = frozenset((b")", b"t", b"\x85", b"\x86", b"\x87"))
_LONGEST_INTEGER = 8  # bytes
_HINT = (
    "put a whole copy in its place; only lists, dictionaries, texts and numbers are read: "
    "if the file is your own, convert with int(), float() and str() and pickle it again"
)


class _PlainUnpickler(pickle.Unpickler):
    """Second lock: even an opcode that slipped through gets nothing to call."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}"[:200])

    def persistent_load(self, pid: object) -> NoReturn:  # noqa: ARG002 - the signature is pickle's
        raise pickle.UnpicklingError("it asks for an object outside the file")


def load_plain(path: Path) -> object:
    """What the pickle holds: lists, dictionaries, int, float, bool, None, str, and bytes for Python 2's str.

    numpy's numbers and arrays of them are Python's numbers and lists of them.

    Keys of dictionaries from Python 2 are bytes as well; `text_of` turns either into text. Self-reference is possible.
    StampError if the file is missing, too large, truncated or asks for anything beyond plain data.
    """
    data = bytes(read_buffer(path, PICKLE_LIMIT))
    end = None if b"numpy" in data else _walk(data, path)
    if end is None:
        return _load_slowly(data, path)
    openings = (b"]", b"}", b"(l", b"(d")
    if len(data) > CONTAINER_LIMIT and sum(map(data.count, openings)) > CONTAINER_LIMIT:
        raise StampError(f"{path}: more than {CONTAINER_LIMIT:,} lists and dictionaries", "is it the right file?")
    try:
        # buffered once more, which the unpickler can look into: else it asks for every line anew, at twice the time
        stream = io.BufferedReader(io.BytesIO(data[:end]), 1 << 20)
        return _PlainUnpickler(stream, encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError) as fault:
        reason = " ".join(str(fault).split())[:200]
        raise StampError(f"{path}: not a usable pickle: {reason}", _HINT) from None
    except (OverflowError, MemoryError, RecursionError) as fault:
        raise StampError(f"{path}: not a usable pickle: {type(fault).__name__}", _HINT) from None


def _load_slowly(data: bytes, path: Path) -> object:
    from stamp_data.sources import numpickles

    try:
        return numpickles.Machine(data).load()
    except numpickles.Refused as fault:
        raise StampError(f"{path}: refused, it asks for {fault}", _HINT) from None
    except (ValueError, IndexError, KeyError, struct.error, MemoryError, RecursionError, OverflowError) as fault:
        reason = " ".join(str(fault).split())[:200]
        raise StampError(f"{path}: not a usable pickle: {reason}", _HINT) from None


def text_of(value: bytes | str) -> str:
    """Text of a pickled string. Python 2's str has no encoding: UTF-8 if it is that, else Latin-1, string by string."""
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _walk(data: bytes, path: Path) -> int | None:
    """Where the pickle ends, None if it holds a tuple; StampError at the first other opcode that is not admitted."""
    position = 0
    while True:
        match = _PLAIN_RUN.match(data, position)
        assert match is not None, "the pattern matches the empty run"
        position = match.end()
        opcode = data[position : position + 1]
        if opcode == b".":
            return position + 1
        if opcode in _TUPLES:
            return None
        width = _COUNTED.get(opcode)
        if width is None:
            _refuse(data, position, path)
        start = position + 1 + width
        length = int.from_bytes(data[position + 1 : start], "little")
        if start + length >= len(data):
            raise StampError(f"{path}: ends early, within the value at byte {position:,}", _HINT)
        if opcode == b"\x8a" and length > _LONGEST_INTEGER:
            _refuse(data, position, path)
        position = start + length


def _refuse(data: bytes, position: int, path: Path) -> NoReturn:
    code = data[position : position + 1].decode("latin-1")
    if not code:
        raise StampError(f"{path}: ends early, after {len(data):,} bytes", _HINT)
    known = next((opcode for opcode in pickletools.opcodes if opcode.code == code), None)
    if known is None:
        raise StampError(f"{path}: not a pickle (byte {position:,})", _HINT)
    if known.name in ("GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"):
        raise StampError(f"{path}: refused, it would run code ({known.name} at byte {position:,})", _HINT)
    raise StampError(f"{path}: refused or damaged at {known.name}, byte {position:,}", _HINT)
