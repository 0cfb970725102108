"""From a picture and a sentence to masks: what someone with a checkpoint works with.

Importing this package loads nothing; the names below are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp_train.predict.dialogue import Chat as Chat
    from stamp_train.predict.requests import Request as Request
    from stamp_train.predict.requests import question as question
    from stamp_train.predict.segmentation import Segmentation as Segmentation
    from stamp_train.predict.segmenter import Segmenter as Segmenter

_HOMES = {"Chat": "dialogue", "Request": "requests", "question": "requests", "Segmentation": "segmentation"}


def __getattr__(name: str) -> Any:
    if name == "Segmenter" or name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'segmenter')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
