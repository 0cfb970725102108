"""The stream: which dialogues every optimizer step sees, and their way from the shards to packed inputs.

`plan` says what a step sees, whoever runs it; `pack` says which rank gets what; `loader` reads it and hands it over.
Importing this package loads neither torch nor transformers; what makes pixels or batches imports torch when it is used.
docs/stream.md explains the order, the reading and the measurements behind both.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp_train.stream.foreign import ForeignLoader
    from stamp_train.stream.index import SetIndex
    from stamp_train.stream.lengths import TokenCosts
    from stamp_train.stream.loader import LoaderOptions, StepBatch, StreamLoader
    from stamp_train.stream.mixture import Mixture
    from stamp_train.stream.pack import Pack, PackedStep, pack_batch
    from stamp_train.stream.plan import GlobalBatch, Plan

_HOME = {
    "ForeignLoader": "foreign",
    "GlobalBatch": "plan",
    "LoaderOptions": "loader",
    "Mixture": "mixture",
    "Pack": "pack",
    "PackedStep": "pack",
    "Plan": "plan",
    "SetIndex": "index",
    "StepBatch": "loader",
    "StreamLoader": "loader",
    "TokenCosts": "lengths",
    "pack_batch": "pack",
}

__all__ = [
    "ForeignLoader",
    "GlobalBatch",
    "LoaderOptions",
    "Mixture",
    "Pack",
    "PackedStep",
    "Plan",
    "SetIndex",
    "StepBatch",
    "StreamLoader",
    "TokenCosts",
    "pack_batch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
