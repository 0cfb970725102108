"""What makes a Qwen2-VL checkpoint a STAMP one, kept under `stamp` in its config.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stamp_train.sequence.errors import StampModelError

MASK_POSITIONS = ("grid", "sequential")


@dataclass(frozen=True)
class StampConfig:
    """Settings of the mask side. The defaults of the fields are those of new models.

    Attributes:
        head: name of the readout, see `stamp_train.methods.stamp.heads`.
        mask_positions: rotary positions of a mask block: `grid`, the image's two axes (paper section 3.2), or
            `sequential`, one after another (what the published code does and its weights expect).
        head_width: hidden width of the `fine` readout per 14-pixel patch.
        head_words: the last so many tokens before `<|seg|>` tell the `fine` readout where to look (`WordsOfPlace`); 0, none.
        names: categories that the vision tower learns to name (`demo.patch_classes`); none, no layer for it.
        deepstack: what image tokens get of the tower's inner layers (Qwen3-VL) goes to the mask tokens of their patches too.
    """

    head: str = "fine"
    mask_positions: str = "grid"
    head_width: int = 256
    head_words: int = 0
    names: tuple[str, ...] = ()
    deepstack: bool = True

    def __post_init__(self) -> None:
        if self.mask_positions not in MASK_POSITIONS:
            raise StampModelError(
                f"no mask positions {self.mask_positions!r}", fix=f"choose one of {', '.join(MASK_POSITIONS)}"
            )
        if self.head_words and self.head == "patch":
            raise StampModelError(
                "the patch readout is told no words", fix="set head_words to 0, or choose the fine readout"
            )

    @classmethod
    def published(cls) -> StampConfig:
        """What a checkpoint without a `stamp` section is: the published form."""
        return cls(head="patch", mask_positions="sequential")

    @classmethod
    def of(cls, config: Any) -> StampConfig:
        """The settings stored in a transformers config; the published ones if it has none."""
        stored = getattr(config, "stamp", None)
        if stored is None:
            return cls.published()
        return cls(**{**stored, "names": tuple(stored.get("names", ()))})  # JSON has no tuples

    def store(self, config: Any) -> None:
        """Write the settings into a transformers config, which saves them with the checkpoint."""
        config.stamp = asdict(self)
