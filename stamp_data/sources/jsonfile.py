"""JSON from strangers: bounded, quick, and with every fault of the file as a whole told in one line.

Parsing is by msgspec into typed structs; what may be large or broken stays undecoded (`msgspec.Raw`) until its row is
needed, so that one bad row costs that row only and a file of 100 MB costs little more than its own size.
"""

from __future__ import annotations

import codecs
import mmap
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_schemas import StampError

T = TypeVar("T")
Buffer = bytes | mmap.mmap

FILE_LIMIT = 4 << 30  # bytes; the largest published annotation file has 1.1 GB
SMALL_LIMIT = 64 << 20  # bytes; files that describe one picture, which labelme may embed
MAPPED_FROM = 256 << 20  # bytes; from here on a file is mapped: the kernel can take those pages back, a copy it cannot
HALF_PAIR = "a text holds half of a surrogate pair"
_CHUNK = 1 << 20  # bytes
_OPENINGS = [b"%c" % one for one in b'[{"-0123456789tfnNI']
OTHER_FORMAT = "it is not a file of this format"
WHOLE = "put a whole copy in its place"
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # its byte-order marks
BOM = b"\xef\xbb\xbf"
EMPTY = (b"", b"[]", b"{}", b"null")  # segmentations of nothing

# Strings first, so that a literal inside one is passed over; possessive, so that no input makes it backtrack.
_LITERAL = re.compile(rb'"(?:[^"\\]++|\\.)*+"|-?(?:NaN|Infinity)', re.DOTALL)
# A whole pair, or half of one, or any other escape, so that an escaped backslash begins none.
_HALF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_FORGIVEN = (b"NaN", b"Infinity", b"\\ud", b"\\uD")


def read_buffer(path: Path, limit: int = FILE_LIMIT) -> Buffer:
    """The file's bytes, mapped if there are many. StampError if it is missing, no plain file, too large or empty."""
    try:
        if not path.is_file():
            fault = "is not a plain file" if path.exists() else "does not exist"
            raise StampError(f"{path} {fault}", "stamp-data doctor says what is missing and where it comes from")
        size = path.stat().st_size
        if size > limit:
            raise StampError(
                f"{path} has {size:,} bytes, more than the {limit:,} that are read", "is it the right file?"
            )
        if size == 0:
            raise StampError(f"{path} is empty", WHOLE)
        if size < MAPPED_FROM:
            return path.read_bytes()
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path, or a file that shrank while it was mapped
        raise StampError(f"{path} cannot be read: {fault}", "check the path and its permissions") from None


def decode(data: Buffer, path: Path, kind: type[T], encoding: str = "") -> T:
    """`data` as `kind`. NaN and Infinity, which JSON does not have, count as null; a byte-order mark is passed over.

    encoding: a second one to try where the bytes are not UTF-8. StampError names the file, the fault and its place.
    """
    start = data[:256].removeprefix(BOM).lstrip()
    if not encoding and start[:1] not in _OPENINGS and start[:2] not in UTF16:
        raise StampError(f"{path}: not JSON, it begins with {start[:20]!r}", OTHER_FORMAT)
    data = as_utf8(data, path, encoding)
    try:
        return _decode(data, kind)
    except RecursionError:
        raise StampError(f"{path}: nested too deeply", OTHER_FORMAT) from None
    except UnicodeDecodeError:
        raise StampError(f"{path}: {HALF_PAIR}", "re-save it with whole characters") from None
    except msgspec.ValidationError as fault:
        raise StampError(f"{path}: {fault}", OTHER_FORMAT) from None
    except msgspec.DecodeError as fault:
        what = f"ends early, after {len(data):,} bytes" if "truncated" in str(fault) else str(fault)
        raise StampError(f"{path}: {what}", WHOLE) from None


def load_json(path: Path, kind: type[T], limit: int = FILE_LIMIT, encoding: str = "") -> T:
    """The file as `kind`; see `read_buffer` and `decode`."""
    return decode(read_buffer(path, limit), path, kind, encoding)


def decode_row(raw: msgspec.Raw, kind: type[T], reason: str) -> T:
    """One undecoded row as `kind`; RecordFault with `reason` if it is none."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        # the file is known to be UTF-8, except for what `_spoilt` put there
        raise RecordFault(reason, HALF_PAIR if isinstance(fault, UnicodeDecodeError) else str(fault)) from None
    except RecursionError:
        raise RecordFault(reason, "nested too deeply") from None


def _decode(data: Buffer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:
        if not any(data.find(mark) >= 0 for mark in _FORGIVEN):
            raise
    return msgspec.json.decode(_HALF.sub(_spoilt, _LITERAL.sub(_as_null, data)), type=kind)


def _as_null(match: re.Match[bytes]) -> bytes:
    found = match[0]
    return found if found[:1] == b'"' else b"null"


def _spoilt(match: re.Match[bytes]) -> bytes:
    """Half of a surrogate pair as bytes that are no UTF-8: they are noticed where the text is decoded, not before."""
    return match[0] if match[1] is None else b"\xff" * len(match[0])


def as_utf8(data: Buffer, path: Path, encoding: str = "") -> Buffer:
    """`data` in UTF-8 without a byte-order mark; StampError if it is neither UTF-8 nor in `encoding`."""
    place = _not_utf8(data)
    if place is not None:
        data = _recoded(bytes(data), path, encoding, place)
    return data[3:] if data[:3] == BOM else data


def _not_utf8(data: Buffer) -> int | None:
    """Where the first byte is that no UTF-8 has there, None if all of it is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _CHUNK):
        held, chunk = len(decoder.getstate()[0]), data[start : start + _CHUNK]
        if not held and chunk.isascii():  # as most are; a tenth of the time of decoding them
            continue
        try:
            decoder.decode(chunk, final=start + _CHUNK >= len(data))
        except UnicodeDecodeError as fault:
            return start - held + fault.start
    return None


def _recoded(data: bytes, path: Path, encoding: str, place: int) -> bytes:
    if not encoding:
        hint = "name its encoding, for example --encoding gbk, or re-save it as UTF-8"
        raise StampError(f"{path}: not UTF-8 at byte {place:,}", hint)
    try:
        return data.decode(encoding).encode("utf-8")
    except UnicodeError:
        fault = f"{path}: neither UTF-8 nor {encoding} (byte {place:,} is not UTF-8)"
        raise StampError(fault, "re-save it as UTF-8") from None


def checked_segmentation(raw: msgspec.Raw) -> msgspec.Raw:
    """The segmentation in memory of its own (a Raw keeps the whole file alive), known to be a list or an object in ASCII."""
    data = bytes(raw)
    if data[:1] not in (b"[", b"{") or not data.isascii():
        raise RecordFault("bad-segmentation", f"segmentation is {data[:40].decode('utf-8', 'replace') or 'absent'}")
    return msgspec.Raw(data)


def segmentation_or_none(raw: msgspec.Raw) -> msgspec.Raw | None:
    """`checked_segmentation`, None of an empty one."""
    return None if bytes(raw).strip() in EMPTY else checked_segmentation(raw)


def decode_rows(
    rows: Iterable[tuple[str, msgspec.Raw]],
    kind: type[T],
    reason: str,
    file: str,
    rejects: RejectLog,
    expressions: int = 0,
) -> Iterator[tuple[str, T]]:
    """The rows as `kind`, by their places; one that is none becomes a row of `rejects`, see `decode_row`."""
    for record, raw in rows:
        try:
            row = decode_row(raw, kind, reason)
        except RecordFault as fault:
            rejects.add(file, record, fault.reason, fault.detail, expressions=expressions)
            continue
        yield record, row


def numbered(rows: list[T]) -> Iterator[tuple[int, T]]:
    """Rows with their positions, given up one by one so that what is not kept is freed on the way; `rows` ends empty."""
    rows.reverse()
    for position in range(len(rows)):
        yield position, rows.pop()
