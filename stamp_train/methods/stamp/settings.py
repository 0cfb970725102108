"""What a recipe and a checkpoint say of STAMP: its readout, its mask tokens' positions, its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec

from stamp_schemas.recipe import Positive
from stamp_schemas.record import SEG
from stamp_train.methods.contract import Settings
from stamp_train.sequence.chat import NO, YES
from stamp_train.sequence.errors import StampModelError

MASK = "<|mask|>"
_WORDS = ("head_words", "names")  # what a readout of older versions could be told


class StampSettings(Settings, frozen=True, tag_field="name", tag="stamp"):
    """Settings of STAMP; the defaults are those of new models.

    head: `patch`, one logit for each merged patch (published), or `fine`, 4x4 of them, from vision features too.
    mask_positions: rotary positions of a mask's tokens: `grid`, the image's two axes (paper 3.2), or `sequential`, one after
    another (what the published code does and its weights expect). head_width: hidden width of the fine head for each patch of
    the tower. loss: see `methods.stamp.losses.LOSSES`. deepstack: what image tokens get of the tower's inner layers (Qwen3-VL)
    goes to the mask tokens of their patches too.
    """

    title: ClassVar[str] = "STAMP, simultaneous textual all-mask prediction"
    home: ClassVar[str] = "stamp_train.methods.stamp.method:Stamp"
    tokens: ClassVar[tuple[str, ...]] = (SEG, MASK, YES, NO)
    training: ClassVar[tuple[str, ...]] = ("loss",)

    head: Literal["fine", "patch"] = "fine"
    mask_positions: Literal["grid", "sequential"] = "grid"
    head_width: Positive = 256
    loss: Literal["default", "paper", "published"] = "default"
    deepstack: bool = True

    def tokens_per_mask(self, patches: int) -> int:
        """One mask token for each merged patch."""
        return patches

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any] | None) -> Self:
        """A checkpoint without settings is a published one. StampModelError: a readout that this version does not have."""
        if stored is None:
            return cls(head="patch", mask_positions="sequential")
        told = dict(stored)
        parts = [part for part in (stored, told.pop("demo", None)) if isinstance(part, Mapping)]
        if any(part.get(name) for part in parts for name in _WORDS):
            raise StampModelError(
                "the readout was told words or named patches, which only older versions did",
                where="stamp",
                fix="open it with the version that trained it, or train anew",
            )
        return msgspec.convert({name: value for name, value in told.items() if name not in _WORDS}, cls)
