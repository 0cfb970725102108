"""The contracts of the project: what sources hand to the build, and what a shard set holds.

Everything here is a typed `msgspec.Struct`: parsing validates, and `json_schema` describes the result to other programs.
Structs are made when one is first asked for: a command that only says what is wrong, or what it can do, needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stamp_schemas.errors import StampError as StampError
from stamp_schemas.errors import UsageFault as UsageFault

if TYPE_CHECKING:
    from stamp_schemas.annotation import Annotation, ImageRef, Region, Request, Target, Turn
    from stamp_schemas.jsonschema import CONTRACTS, json_schema
    from stamp_schemas.manifest import Input, Manifest, Reject, Settings, ShardEntry, Totals, Wording
    from stamp_schemas.recipe import Recipe
    from stamp_schemas.record import RLE, Content, Dialogue, Grid, ImageInfo, Message, Record, SourceInfo, TargetInfo

# fmt: off
__all__ = [
    "CONTRACTS", "RLE", "Annotation", "Content", "Dialogue", "Grid", "ImageInfo", "ImageRef", "Input", "Manifest", "Message",
    "Recipe", "Record", "Region", "Reject", "Request", "Settings", "ShardEntry", "SourceInfo", "StampError", "Target",
    "TargetInfo", "Totals", "Turn", "UsageFault", "Wording", "json_schema",
]
# fmt: on


def __getattr__(name: str) -> Any:
    for module in ("record", "annotation", "manifest", "recipe", "jsonschema") if name in __all__ else ():
        if found := getattr(import_module(f"{__name__}.{module}"), name, None):
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
