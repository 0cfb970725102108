"""From a picture and a sentence to masks: what someone with a checkpoint works with.

Importing this package loads nothing: `stamp_train.generation.replies` needs `stamp_train.methods.upsample`, and what draws on
the model lies beside it. The names below are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp_train.predict.dialogue import Chat, ChatEvent, Turn
    from stamp_train.predict.requests import Request, question
    from stamp_train.predict.segmentation import Segmentation
    from stamp_train.predict.segmenter import Segmenter

_HOME = {
    "Chat": "dialogue",
    "ChatEvent": "dialogue",
    "Request": "requests",
    "Segmentation": "segmentation",
    "Segmenter": "segmenter",
    "Turn": "dialogue",
    "question": "requests",
}

__all__ = ["Chat", "ChatEvent", "Request", "Segmentation", "Segmenter", "Turn", "question"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
