"""One shard against the manifest and the index: a function of its file and a job, run in whatever process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.files import file_digest, open_plain
from stamp_data.shards.index import MEMBERS, IndexRow
from stamp_data.shards.stores import StoreFault, open_store
from stamp_data.verify.fault import Fault, FaultList, reason
from stamp_data.verify.record import Found, RecordCheck
from stamp_data.verify.walk import BLOCK, Member, Walked, read, walk
from stamp_schemas import Settings, ShardEntry, StampError


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
    """Everything that is wrong with one shard, in the order of its bytes. Raises StoreFault alone, if the place is at fault."""
    faults = FaultList(job.name)
    try:
        with (
            warnings.catch_warnings(),
            open_store(job.place, job.patience).at_hand([job.name]) as folder,
            open_plain(folder / job.name) as file,
        ):
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata: what is wrong with a picture becomes a fault
            size = os.fstat(file.fileno()).st_size
            rows = job.rows
            if _has_digest(job.entry, folder / job.name, size, faults) and not job.trusted:
                rows = None
            _check_content(file, size, job, rows, faults)
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
    known = [_member(row, kind) for row in rows or [] for kind in row.members]
    walked = walk(file, size, known, faults)
    _check_order(walked.members, faults)
    if rows is None:
        _check_end(walked, faults)
    else:
        _compare(known, walked, faults)
    by_key = {row.key: row for row in rows or []}
    found = _by_tar(file, walked.members) if rows is None else _by_index(file, rows, faults)
    for record in found:
        RecordCheck(record, faults, job.settings, job.labels).run(by_key.get(record.key))


def _member(row: IndexRow, kind: str) -> Member:
    offset, size, _ = row.span(kind)
    return Member(row.member_name(kind), offset, size)


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
                place = _member(row, kind).end
    return ""


def _check_order(members: list[Member], faults: FaultList) -> None:
    """Members of a record stand together, picture before JSON before labels, each once, and the JSON always."""
    seen: set[str] = set()
    for group in groups(members):
        key, kinds = group[0].key, [member.kind for member in group]
        if key in seen:
            faults.add("tar-order", "its members are not all together", key, group[0].name)
        elif kinds != [kind for kind in MEMBERS if kind in kinds]:
            faults.add("tar-order", f"members in the order {', '.join(member.suffix for member in group)}", key)
        seen.add(key)


def _check_end(walked: Walked, faults: FaultList) -> None:
    """Without an index: is the tar whole, and has every record its JSON?"""
    if walked.cut:
        last = walked.members[-1].key if walked.members else "nothing"
        faults.add("tar-truncated", f"ends at byte {walked.stop:,} without an end of archive, after {last}")
    for group in groups(walked.members):
        if all(member.kind != "json" for member in group):
            faults.add("member-missing", "no JSON", group[0].key, f"{group[0].key}.json")


def _compare(known: list[Member], walked: Walked, faults: FaultList) -> None:
    """What the index knows against what the tar holds, place by place."""
    there = {member.offset: member for member in walked.members}
    lost: list[Member] = []
    for member in known:
        other = there.pop(member.offset, None)
        if other == member or member.offset - BLOCK in walked.broken:
            continue
        if member.offset - BLOCK >= walked.stop:
            lost.append(member)
        else:
            instead = f"{other.name} is in its place" if other else "there is none"
            faults.add("member-missing", instead, member.key, member.name)
    for member in there.values():
        faults.add("member-extra", "unknown to the index", member.key, member.name)
    if lost:
        keys = len({member.key for member in lost})
        detail = (
            f"the tar ends at byte {walked.stop:,}; from here on {keys} of its records are missing, wholly or partly"
        )
        faults.add("tar-truncated", detail, lost[0].key, lost[0].name)
    elif walked.cut:
        faults.add("tar-truncated", "the end of the archive is missing; every record is there")


def _by_index(file: BinaryIO, rows: list[IndexRow], faults: FaultList) -> Iterator[Found]:
    """The records that the index knows, with those of their members that have the right hash."""
    for row in rows:
        names = {kind: row.member_name(kind) for kind in row.members}
        data = {}
        for kind in row.members:
            offset, size, digest = row.span(kind)
            content = read(file, offset, size)
            if len(content) < size:
                continue  # beyond the end of the file: `_compare` names the first of these
            if xxh3_64_intdigest(content) == digest:
                data[kind] = content
            else:
                faults.add("member-digest", "its xxh3-64 is not the index's", row.key, names[kind])
        yield Found(row.key, names, data)


def _by_tar(file: BinaryIO, members: list[Member]) -> Iterator[Found]:
    """The records as the tar itself has them."""
    for group in groups(members):
        names = {member.kind: member.name for member in group}
        data = {member.kind: member.read(file) for member in group}
        yield Found(group[0].key, names, data)


def groups(members: list[Member]) -> list[list[Member]]:
    """Neighbours of one key."""
    groups: list[list[Member]] = []
    for member in members:
        if groups and groups[-1][0].key == member.key:
            groups[-1].append(member)
        else:
            groups.append([member])
    return groups
