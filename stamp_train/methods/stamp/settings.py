"""What a recipe and a checkpoint say of STAMP: its readout, its mask tokens' positions, its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec

from stamp_schemas import Record, UsageFault
from stamp_schemas.recipe import Above, Amount, Count, Part, Positive
from stamp_schemas.record import SEG
from stamp_train.methods.contract import Method, Settings
from stamp_train.sequence.chat import NO, YES

MASK = "<|mask|>"


class Demo(Part, frozen=True):
    """What a small network from random weights needs in order to learn, see `methods.stamp.demo`; set by `tiny.yaml` alone.

    near: attention begins by looking near. readout: factor on the weights of the fine head whose product says what is sought.
    head_words: the last so many tokens before `<|seg|>` tell the fine head where to look. naming: weight of one more loss, by
    which the vision tower names what it sees. names: of the categories that it names; from the records, if none are given.
    early: weight of the masks' loss as the language model's last layer but one would have them. freeze_patches: the projection
    of pixels keeps its weights (Chen et al., "An Empirical Study of Training Self-Supervised Vision Transformers", 2021).
    """

    near: bool = False
    readout: Above = 1.0
    head_words: Count = 0
    naming: Amount = 0.0
    names: tuple[str, ...] = ()
    early: Amount = 0.0
    freeze_patches: bool = False


class StampSettings(Settings, frozen=True, tag_field="name", tag="stamp"):
    """Settings of STAMP; the defaults are those of new models.

    head: `patch`, one logit for each merged patch (published), or `fine`, 4x4 of them, from vision features too.
    mask_positions: rotary positions of a mask's tokens: `grid`, the image's two axes (paper 3.2), or `sequential`, one after
    another (what the published code does and its weights expect). head_width: hidden width of the fine head for each patch of
    the tower. loss: see `methods.stamp.losses.LOSSES`. deepstack: what image tokens get of the tower's inner layers (Qwen3-VL)
    goes to the mask tokens of their patches too.
    """

    title: ClassVar[str] = "STAMP, simultaneous textual all-mask prediction"
    tokens: ClassVar[tuple[str, ...]] = (SEG, MASK, YES, NO)
    training: ClassVar[tuple[str, ...]] = ("loss",)

    head: Literal["fine", "patch"] = "fine"
    mask_positions: Literal["grid", "sequential"] = "grid"
    head_width: Positive = 256
    loss: Literal["default", "paper", "published"] = "default"
    deepstack: bool = True
    demo: Demo | None = None

    def __post_init__(self) -> None:
        if self.demo and self.demo.head_words and self.head == "patch":
            raise ValueError("the patch readout is told no words: set `demo.head_words` to 0, or `head` to fine")

    def tokens_per_mask(self, patches: int) -> int:
        """One mask token for each merged patch."""
        return patches

    def method(self) -> Method:
        """STAMP; with the demo's help where that is asked for."""
        from stamp_train.methods.stamp.method import Stamp

        if self.demo is None:
            return Stamp(self)
        from stamp_train.methods.stamp.demo.method import DemoStamp

        return DemoStamp(self)

    def complete(self, records: Callable[[], Iterable[Record]]) -> Self:
        """With the categories that the tower learns to name."""
        if self.demo is None or not self.demo.naming or self.demo.names:
            return self
        from stamp_train.methods.stamp.demo.patch_classes import categories

        return msgspec.structs.replace(
            self, demo=msgspec.structs.replace(self.demo, names=tuple(categories(records())))
        )

    def check_training(self, *, tower_learns: bool) -> None:
        """The demo's naming does."""
        if self.demo and self.demo.naming and not tower_learns:
            raise UsageFault(
                "naming trains the vision tower, which freeze_vision and tuning: lora leave as it is",
                "method.demo.naming=0",
            )

    def over(self, network: Self) -> Self:
        """The settings of a network that exists, trained as these say."""
        found = super().over(network)
        if self.demo is None and found.demo is None:
            return found
        held, asked = found.demo or Demo(), self.demo or Demo()
        demo = msgspec.structs.replace(asked, head_words=held.head_words, names=held.names)
        return msgspec.structs.replace(found, demo=demo)

    @classmethod
    def of_stored(cls, stored: Mapping[str, Any] | None) -> Self:
        """A checkpoint without settings is a published one; older ones of ours have the demo's beside the others."""
        if stored is None:
            return cls(head="patch", mask_positions="sequential")
        told = dict(stored)
        older = {name: told.pop(name) for name in ("head_words", "names") if name in told}
        if any(older.values()):
            told["demo"] = {**(told.get("demo") or {}), **older}
        return msgspec.convert(told, cls)
