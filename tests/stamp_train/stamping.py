"""STAMP with some settings, for tests of what stands on it."""

from __future__ import annotations

from typing import Any

from stamp_train.methods.stamp.losses import LOSSES
from stamp_train.methods.stamp.method import Stamp
from stamp_train.methods.stamp.settings import StampSettings

PUBLISHED = StampSettings.of_stored(None)


def settings(head: str = "fine", **others: Any) -> StampSettings:
    """Settings, the readout's kind first."""
    return StampSettings(head=head, **others)  # type: ignore[arg-type]


def stamp(side: int = 4, loss: str = "default", **others: Any) -> Stamp:
    """The method whose readout gives side by side logits for a patch, with any loss, even one that is for another readout."""
    method = settings({1: "patch", 4: "fine"}[side], **others).method()
    assert isinstance(method, Stamp)
    method.loss = LOSSES[loss]
    method.text_labels, method.divide_by = method.loss.text_labels, method.loss.divide_by
    return method
