"""The one kind of finding that verification has."""

from __future__ import annotations

from typing import Literal

import msgspec

from stamp_schemas import StampError

Code = Literal[
    "manifest-missing",  # no manifest.json: the set was never finished
    "manifest-unreadable",  # not JSON of a manifest, of another schema, or not in canonical form
    "manifest-changed",  # its checksum is not that of its own text
    "manifest-digest",  # the set's digest is not that of its shards' digests
    "manifest-totals",  # totals, names or files that do not agree with the rest
    "file-missing",
    "file-extra",  # a tar that the manifest does not know
    "file-unreadable",  # the system refuses to read it
    "file-size",
    "file-digest",  # BLAKE3 differs from the manifest
    "file-content",  # wids.json or rejects.jsonl do not say what they should
    "index-unreadable",
    "index-rows",  # rows missing, too many, out of order, or with keys that are bad or not unique
    "index-differs",  # a row disagrees with the record itself
    "tar-header",  # a header that is damaged or has other fields than those of the specification
    "tar-padding",  # bytes other than zero after a member or at the end, or an end that is too short
    "tar-order",  # members of a record apart, in another order, or not what a record consists of
    "tar-truncated",  # the tar ends before the last record that it should hold; `record` is the first one missing
    "member-missing",
    "member-extra",  # a member that the index does not know, or not at this place
    "member-digest",  # xxh3-64 differs from the index
    "record-unreadable",
    "record-differs",  # the record disagrees with its key, the manifest's settings or itself
    "picture-unreadable",
    "picture-size",
    "rle-invalid",  # runs that do not fill the picture
    "mask-derived",  # area or bbox are not those of the mask
    "labels-differ",  # patch labels are not those of the mask
    "target-index",  # a dialogue points at a target that is not there
    "seg-count",  # other than one target per `<|seg|>` of the assistant
    "control-token",  # a control token where source text stands
    "image-count",  # other than one place for the picture in a dialogue
]


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong. shard: the file it is in (a shard, or index.parquet, …); record: key; member: file name.

    record and member are "" where the fault is not in one of them, or nothing tells in which.
    """

    shard: str
    code: Code
    detail: str
    record: str = ""
    member: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.shard, self.member or self.record) if part)
        return f"{place}: {self.detail} [{self.code}]"


def reason(fault: StampError | OSError) -> str:
    """Why a file could not be read."""
    return fault.message if isinstance(fault, StampError) else fault.strerror or str(fault)


class FaultList:
    """Faults of one file, in the order in which they are found."""

    def __init__(self, shard: str) -> None:
        self.shard = shard
        self.faults: list[Fault] = []

    def add(self, code: Code, detail: str, record: str = "", member: str = "") -> None:
        """Note one fault; `Fault` explains the fields."""
        self.faults.append(Fault(self.shard, code, detail, record, member))
