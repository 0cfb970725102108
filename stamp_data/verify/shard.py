"""One shard against the manifest and the index: a function of its file and a job, run in whatever process.

The index says where every member lies, how long it is and what it hashes to, so each byte of a tar has one value that it may
have. A shard that no index describes is walked by its own headers, as far as these can be read.
"""

from __future__ import annotations

import errno
import os
import re
import tarfile
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.files import file_digest, open_plain
from stamp_data.shards import tar
from stamp_data.shards.index import MEMBERS, IndexRow
from stamp_data.shards.stores import StoreFault, open_store
from stamp_data.shards.tar import BLOCK
from stamp_data.verify.fault import Fault, FaultList, reason
from stamp_data.verify.record import Found, RecordCheck
from stamp_schemas import Settings, ShardEntry, StampError

CHUNK = 1 << 20
_NAME = re.compile(r"[a-z0-9_+-]{1,80}(?:\.[a-z0-9]+)+")


class Member(NamedTuple):
    """One member of a tar. offset: of its data. xxh3: that the index has of it, None if it was found in the tar itself."""

    name: str
    offset: int
    size: int
    xxh3: int | None = None

    @property
    def key(self) -> str:
        return self.name.partition(".")[0]

    @property
    def kind(self) -> str:
        """What the suffix makes it: `json`, `labels`, or else `image`."""
        return {"json": "json", "labels.npy": "labels"}.get(self.name.partition(".")[2], "image")

    @property
    def end(self) -> int:
        """Offset of the header after it."""
        return self.offset + self.size + -self.size % BLOCK

    def read(self, file: BinaryIO) -> bytes:
        return _read(file, self.offset, self.size)


class ShardJob(msgspec.Struct, frozen=True):
    """What to check a shard against; None stands for what could not be read.

    trusted: whether the index has the bytes that the manifest promises. If not, its rows are used only to find one's way
    in a shard that is itself damaged. labels: whether to make the labels anew.
    """

    place: str
    patience: float
    name: str
    entry: ShardEntry | None
    rows: list[IndexRow] | None
    trusted: bool
    settings: Settings | None
    labels: bool


def check_shard(job: ShardJob) -> list[Fault]:
    """Everything that is wrong with one shard. Raises StoreFault alone, if the place is at fault."""
    faults = FaultList(job.name)
    try:
        with (
            warnings.catch_warnings(),
            open_store(job.place, job.patience).at_hand([job.name]) as folder,
            open_plain(folder / job.name) as file,
        ):
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata: what is wrong with a picture becomes a fault
            size = os.fstat(file.fileno()).st_size
            is_whole = _has_digest(job.entry, folder / job.name, size, faults)
            _check_content(file, size, job, None if is_whole and not job.trusted else job.rows, faults)
    except StoreFault:
        raise
    except FileNotFoundError:
        faults.add("file-missing", "no such file")
    except (StampError, OSError) as fault:
        faults.add("file-unreadable", reason(fault))
    return faults.faults


def _has_digest(entry: ShardEntry | None, path: Path, size: int, faults: FaultList) -> bool:
    if entry is None:
        return False
    if size != entry.bytes:
        faults.add("file-size", f"{size:,} bytes, the manifest says {entry.bytes:,}")
        return False
    if file_digest(path) != entry.digest:
        faults.add("file-digest", "its BLAKE3 is not the manifest's")
        return False
    return True


def _check_content(file: BinaryIO, size: int, job: ShardJob, rows: list[IndexRow] | None, faults: FaultList) -> None:
    if rows is not None and (problem := layout_problem(rows)):
        faults.add("index-rows", f"the index is of no use here: {problem}")
        rows = None
    by_key = {row.key: row for row in rows or []}
    if rows is None:
        members, _ = walk(file, size)
    else:
        members = [Member(row.member_name(kind), *row.span(kind)) for row in rows for kind in row.members]
    for record in _records(file, size, members, faults):
        RecordCheck(record, faults, job.settings, job.labels).run(by_key.get(record.key))


def layout_problem(rows: list[IndexRow]) -> str:
    """Why these rows cannot describe a shard from its first byte on without a gap; "" if they can."""
    place = 0
    for number, row in enumerate(rows):
        if row.row != number:
            return f"row {number} of the shard has number {row.row}"
        for kind in MEMBERS:
            offset, size, _ = row.span(kind)
            if (kind == "json" and size < 1) or size < 0 or (offset != place + BLOCK if size else offset):
                return f"{row.key}: its {kind} cannot lie at byte {offset:,} with {size:,} bytes"
            if size:
                place = Member("", offset, size).end
    return ""


def _records(file: BinaryIO, size: int, members: list[Member], faults: FaultList) -> Iterator[Found]:
    """The records of these members, with those that are whole: picture before JSON before labels, and the JSON always."""
    lost: list[Member] = []
    known: set[str] = set()
    place = 0
    for key, group in groups(members):
        kinds = [member.kind for member in group]
        if key in known:
            faults.add("tar-order", "its members are not all together", key, group[0].name)
        elif kinds != [kind for kind in MEMBERS if kind in kinds]:
            faults.add("tar-order", f"members in the order {', '.join(kinds)}", key)
        if "json" not in kinds:
            faults.add("member-missing", "no JSON", key, f"{key}.json")
        known.add(key)
        data = {}
        for member in group:
            head = member.offset - BLOCK
            is_over = not any(_read(file, head, BLOCK)) and _only_zeros(file, head, size)
            if lost or is_over or member.offset + member.size > size:
                lost.append(member)
                continue
            content = _check_member(file, member, faults)
            if content is not None:
                data[member.kind] = content
            place = member.end
        yield Found(key, {member.kind: member.name for member in group}, data)
    if lost:
        keys = len({member.key for member in lost})
        detail = f"the tar ends at byte {min(place, size):,}; from here on {keys} of its records are missing, wholly or partly"
        faults.add("tar-truncated", detail, lost[0].key, lost[0].name)
        return
    extra, place = walk(file, size, place)
    for member in extra:
        faults.add("member-extra", "unknown to the index", member.key, member.name)
        if member.key in known:
            faults.add("tar-order", "its members are not all together", member.key, member.name)
    _check_end(file, place, size, faults)


def _check_member(file: BinaryIO, member: Member, faults: FaultList) -> bytes | None:
    """The bytes of a member; None if they are not those of the index."""
    block, content = _read(file, member.offset - BLOCK, BLOCK), member.read(file)
    if block != tar.header(member.name, member.size):
        if other := _parsed(block):
            faults.add("member-missing", f"{other[0]} is in its place", member.key, member.name)
        else:
            faults.add("tar-header", "its header is damaged, or not as in the specification", member.key, member.name)
    if any(_read(file, member.offset + member.size, -member.size % BLOCK)):
        faults.add("tar-padding", "the bytes that fill up its last block are not zero", member.key, member.name)
    if member.xxh3 is None or xxh3_64_intdigest(content) == member.xxh3:
        return content
    faults.add("member-digest", "its xxh3-64 is not the index's", member.key, member.name)
    return None


def walk(file: BinaryIO, size: int, place: int = 0) -> tuple[list[Member], int]:
    """The members of a tar of `size` bytes from `place` on, and where they end: at something else than a whole member."""
    members: list[Member] = []
    while found := _parsed(_read(file, place, BLOCK)):
        member = Member(found[0], place + BLOCK, found[1])
        if member.end > size:
            break
        members.append(member)
        place = member.end
    return members, place


def groups(members: list[Member]) -> list[tuple[str, list[Member]]]:
    """Neighbours of one key."""
    return [(key, list(group)) for key, group in groupby(members, lambda member: member.key)]


def _parsed(block: bytes) -> tuple[str, int] | None:
    """Name and size of the member that a header is of; None if it is not one that a shard may have."""
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        fits = _NAME.fullmatch(info.name) and tar.header(info.name, info.size) == block
    except (tarfile.HeaderError, ValueError):
        return None
    return (info.name, info.size) if fits else None


def _check_end(file: BinaryIO, place: int, size: int, faults: FaultList) -> None:
    """Whether nothing but the end of the archive follows the last member."""
    left, wanted = size - place, len(tar.end(place))
    if _only_zeros(file, place, size):
        if left < 2 * BLOCK:
            faults.add("tar-truncated", f"ends at byte {size:,} without an end of archive")
        elif left != wanted:
            faults.add("tar-padding", f"{left:,} empty bytes at the end, not {wanted:,}")
    elif any(_read(file, place, BLOCK)):
        faults.add("tar-header", f"no good header at byte {place:,}, and nothing after it can be read")
    else:
        faults.add("tar-padding", f"something follows the end of the archive at byte {place:,}")


def _only_zeros(file: BinaryIO, place: int, size: int) -> bool:
    """Whether nothing else follows. What a sparse file has not stored is not read: it may claim to be of any size."""
    while (place := _stored(file, place, size)) < size:
        if _read(file, place, CHUNK).strip(b"\0"):
            return False
        place += CHUNK
    return True


def _stored(file: BinaryIO, place: int, size: int) -> int:
    """The first byte from `place` on that a file has stored, `size` if there is none."""
    try:
        return os.lseek(file.fileno(), place, os.SEEK_DATA)
    except OSError as fault:
        return size if fault.errno == errno.ENXIO else place


def _read(file: BinaryIO, place: int, length: int) -> bytes:
    """Up to `length` bytes from `place` on."""
    return os.pread(file.fileno(), length, place)
