"""STAMP on transformers' Qwen2-VL and Qwen2.5-VL: text and masks from one forward pass.

Needs torch and transformers; peft only for adapters. Names are loaded on first use, so that the layout, which needs the
attention structure alone, does not pay for transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stamp_train.model.environment import hide_broken_torchvision
from stamp_train.model.errors import StampModelError

hide_broken_torchvision()

if TYPE_CHECKING:
    from stamp_train.model.chat import ChatEncoder, EncodedDialogue
    from stamp_train.model.config import StampConfig
    from stamp_train.model.generate import Conversation, StampGenerator
    from stamp_train.model.inputs import MaskBlock, StampInputs
    from stamp_train.model.load import load_checkpoint, start_from
    from stamp_train.model.modeling import StampForQwen2_5VL, StampForQwen2VL, StampOutput
    from stamp_train.model.presets import build_preset
    from stamp_train.model.processor import StampProcessor
    from stamp_train.model.replies import Answer, Event
    from stamp_train.model.sampling import GenerationOptions
    from stamp_train.model.structure import AttentionStructure

_HOME = {
    "Answer": "replies",
    "AttentionStructure": "structure",
    "ChatEncoder": "chat",
    "Conversation": "generate",
    "EncodedDialogue": "chat",
    "Event": "replies",
    "GenerationOptions": "sampling",
    "MaskBlock": "inputs",
    "StampConfig": "config",
    "StampForQwen2VL": "modeling",
    "StampForQwen2_5VL": "modeling",
    "StampGenerator": "generate",
    "StampInputs": "inputs",
    "StampOutput": "modeling",
    "StampProcessor": "processor",
    "build_preset": "presets",
    "load_checkpoint": "load",
    "start_from": "load",
}

__all__ = [
    "Answer",
    "AttentionStructure",
    "ChatEncoder",
    "Conversation",
    "EncodedDialogue",
    "Event",
    "GenerationOptions",
    "MaskBlock",
    "StampConfig",
    "StampForQwen2VL",
    "StampForQwen2_5VL",
    "StampGenerator",
    "StampInputs",
    "StampModelError",
    "StampOutput",
    "StampProcessor",
    "build_preset",
    "load_checkpoint",
    "start_from",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
