"""JSON Schemas of the contracts, for programs that are not written in Python."""

from __future__ import annotations

from typing import Any

import msgspec

from stamp_schemas.annotated import AnnotatedImage
from stamp_schemas.manifest import Manifest, Reject
from stamp_schemas.patch import RecordPatch
from stamp_schemas.record import Record

CONTRACTS: dict[str, type[msgspec.Struct]] = {
    "record": Record,
    "manifest": Manifest,
    "reject": Reject,
    "annotations": AnnotatedImage,
    "patch": RecordPatch,
}


def json_schema(contract: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one of `CONTRACTS`; KeyError for another name.

    >>> sorted(json_schema("reject")["$defs"]["Reject"]["required"])
    ['detail', 'file', 'reason', 'record']
    """
    return msgspec.json.schema(CONTRACTS[contract])
