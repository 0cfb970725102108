"""Walking a tar block by block, strictly, without the code that wrote it and without the index.

tarfile stops at the first header it cannot read and takes a tar that was cut between two members for a whole one. This
walk says what is wrong with each header, goes on behind a damaged one, and tells where it had to stop.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from typing import BinaryIO

from stamp_data.verify.fault import FaultList

BLOCK, RECORD = 512, 10_240
CHUNK = 1 << 20
_NAME = re.compile(rb"([a-z0-9_+-]{1,80})\.([a-z0-9]+(?:\.[a-z0-9]+)*)\0*")
_NUMBER = re.compile(rb"[0-7]{11}\0")
_CHECKSUM = re.compile(rb"[0-7]{6}\0 ")
_FIELDS = (  # name, start, end
    ("mode", 100, 108),
    ("owner", 108, 116),
    ("group", 116, 124),
    ("time", 136, 148),
    ("type", 156, 157),
    ("link name", 157, 257),
    ("magic", 257, 265),
    ("owner name", 265, 297),
    ("group name", 297, 329),
    ("device", 329, 345),
    ("prefix", 345, 500),
    ("end", 500, 512),
)


def _fixed() -> bytes:
    info = tarfile.TarInfo("")
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


_EXPECTED = _fixed()
_BEFORE_SIZE, _AFTER_SIZE, _AFTER_SUM = _EXPECTED[100:124], _EXPECTED[136:148], _EXPECTED[156:]


@dataclass(frozen=True)
class Member:
    """One member of a tar. offset: of its data."""

    name: str
    offset: int
    size: int

    @property
    def key(self) -> str:
        return self.name.partition(".")[0]

    @property
    def suffix(self) -> str:
        return self.name.partition(".")[2]

    @property
    def kind(self) -> str:
        """What the suffix makes it: `json`, `labels`, or else `image`."""
        return {"json": "json", "labels.npy": "labels"}.get(self.suffix, "image")

    @property
    def end(self) -> int:
        """Offset of the header after it."""
        return self.offset + self.size + -self.size % BLOCK

    def read(self, file: BinaryIO) -> bytes:
        """Its data; less of it if the file ends before."""
        return read(file, self.offset, self.size)


@dataclass(frozen=True)
class Walked:
    """What a walk saw. stop: where it ended: at the end blocks, or where nothing more could be read.

    broken: offsets of headers that could not be used; each has its fault already. cut: the file ends at `stop`, without
    end blocks or within a member.
    """

    members: list[Member]
    broken: set[int]
    stop: int
    cut: bool


def walk(file: BinaryIO, size: int, known: list[Member], faults: FaultList) -> Walked:
    """Every member of a tar of `size` bytes, from its start to its end blocks.

    known: members in the order in which they should come, if anything says so; where a header is damaged, the walk goes
    on at the next of them, and uses their names in its faults. Without them it looks for the next header itself.
    """
    names = {member.offset - BLOCK: member for member in known}
    members: list[Member] = []
    broken: set[int] = set()
    place = 0
    while place + BLOCK <= size:
        block = read(file, place, BLOCK)
        expected = names.get(place)
        if not any(block) and (expected is None or _only_zeros(file, place, size)):
            _check_end(file, place, size, faults)
            return Walked(members, broken, place, cut=False)
        member = expected
        if problem := _header_problem(block, expected):
            faults.add("tar-header", f"header at byte {place:,}: {problem}", *_where(expected))
            broken.add(place)
        else:
            member = Member(_name(block), place + BLOCK, _size(block))
        if member is None:
            place = min((at for at in names if at > place), default=_next_header(file, place, size))
            continue
        if member.end > size:
            return Walked(members, broken, place, cut=True)
        _check_padding(file, member, faults)
        if not problem:
            members.append(member)
        place = member.end
    return Walked(members, broken, min(place, size), cut=True)


def read(file: BinaryIO, place: int, length: int) -> bytes:
    """Up to `length` bytes from `place` on."""
    file.seek(place)
    return file.read(length)


def _where(member: Member | None) -> tuple[str, str]:
    return (member.key, member.name) if member else ("", "")


def _header_problem(block: bytes, expected: Member | None) -> str:
    """What is wrong with a 512-byte header, "" if nothing is. expected: the member that the index has here."""
    if not _NUMBER.fullmatch(block, 124, 136) or sum(block) - sum(block[148:156]) + 256 != _checksum(block):
        return "its checksum does not fit"
    if not _NAME.fullmatch(block, 0, 100):
        return f"name {block[:100].rstrip(bytes(1))[:80]!r} is not KEY.SUFFIX"
    if block[100:124] != _BEFORE_SIZE or block[136:148] != _AFTER_SIZE or block[156:] != _AFTER_SUM:
        wrong = [name for name, start, end in _FIELDS if block[start:end] != _EXPECTED[start:end]]
        return f"{', '.join(wrong)}: not as in the specification"
    if expected is not None and _size(block) != expected.size:
        return f"it says {_size(block):,} bytes, the index {expected.size:,}"
    return ""


def _name(block: bytes) -> str:
    return block[:100].rstrip(b"\0").decode("ascii")


def _size(block: bytes) -> int:
    return int(block[124:135], 8)


def _checksum(block: bytes) -> int:
    return int(block[148:154], 8) if _CHECKSUM.fullmatch(block, 148, 156) else -1


def _next_header(file: BinaryIO, place: int, size: int) -> int:
    """Offset of the first good header after `place`, `size` if there is none."""
    for offset in range(place + BLOCK, size - BLOCK + 1, BLOCK):
        block = read(file, offset, BLOCK)
        if block[257:265] == _EXPECTED[257:265] and not _header_problem(block, None):
            return offset
    return size


def _only_zeros(file: BinaryIO, place: int, size: int) -> bool:
    return not any(read(file, offset, CHUNK).strip(b"\0") for offset in range(place, size, CHUNK))


def _check_padding(file: BinaryIO, member: Member, faults: FaultList) -> None:
    if any(read(file, member.offset + member.size, -member.size % BLOCK)):
        faults.add("tar-padding", "the bytes that fill up its last block are not zero", *_where(member))


def _check_end(file: BinaryIO, place: int, size: int, faults: FaultList) -> None:
    if not _only_zeros(file, place, size):
        faults.add("tar-padding", f"something follows the end of the archive at byte {place:,}")
    elif size % RECORD or not 2 * BLOCK <= size - place < 2 * BLOCK + RECORD:
        faults.add("tar-padding", f"{size - place:,} empty bytes at the end: not two blocks, filled up to {RECORD:,}")
