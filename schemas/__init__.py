"""The contracts of the project: what sources hand to the build, and what a shard set holds.

Everything here is a typed `msgspec.Struct`: parsing validates, and `json_schema` describes the result to other programs.
"""

from stamp_schemas.annotation import (
    Annotation,
    ImageRef,
    Region,
    Request,
    Target,
    Turn,
)
from stamp_schemas.errors import StampError, UsageFault
from stamp_schemas.jsonschema import CONTRACTS, json_schema
from stamp_schemas.manifest import Input, Manifest, Reject, Settings, ShardEntry, Totals, Wording
from stamp_schemas.recipe import Recipe
from stamp_schemas.record import (
    RLE,
    Content,
    Dialogue,
    Grid,
    ImageInfo,
    Message,
    Record,
    SourceInfo,
    TargetInfo,
)

__all__ = [
    "CONTRACTS",
    "RLE",
    "Annotation",
    "Content",
    "Dialogue",
    "Grid",
    "ImageInfo",
    "ImageRef",
    "Input",
    "Manifest",
    "Message",
    "Recipe",
    "Record",
    "Region",
    "Reject",
    "Request",
    "Settings",
    "ShardEntry",
    "SourceInfo",
    "StampError",
    "Target",
    "TargetInfo",
    "Totals",
    "Turn",
    "UsageFault",
    "Wording",
    "json_schema",
]
