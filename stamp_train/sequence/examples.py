"""What goes into a layout and what comes out: images with their dialogues, options, packed batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.methods.stamp.heads import head_class
from stamp_train.sequence.chat import Message
from stamp_train.sequence.config import MASK_POSITIONS, StampConfig
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import StampInputs, Targets

TEXT_LABELS = ("answers", "all")


@dataclass(frozen=True)
class DialogueExample:
    """One conversation about an image, or about none.

    Attributes:
        name: for messages, such as the record's key and the dialogue's id.
        messages: `role` and `content`, see `ChatEncoder.encode`.
        coverage: for each `<|seg|>` in order, uint8 [h, w] over the merged patches: round(254 * covered fraction), 255 =
            ignore; with `LayoutOptions.side` 4, [4h, 4w] over the sub-patches.
    """

    name: str
    messages: Sequence[Message]
    coverage: Sequence[NDArray[np.uint8]] = ()

    def check_coverage(self, shape: tuple[int, int]) -> None:
        """Refuse coverage of another shape or type.

        Raises:
            StampModelError: an array is not uint8 `shape`.
        """
        for target in self.coverage:
            if tuple(target.shape) != shape or target.dtype != np.uint8:
                raise StampModelError(
                    f"coverage is {target.dtype} {tuple(target.shape)}, the image's grid asks for uint8 {shape}",
                    where=self.name,
                    fix="derive the coverage at this grid from the RLE",
                )


@dataclass(frozen=True)
class ImageExample:
    """An image with all its dialogues; without pixels, dialogues in text alone.

    Attributes:
        dialogues: at least one.
        pixel_values: float [patches, channels * time * 14 * 14], see `StampProcessor.images`.
        grid_thw: patches in (time, height, width) before the 2x2 merge.
        names: int64 [patches], as `Targets.names`; of all images of a sequence or of none.
    """

    dialogues: Sequence[DialogueExample]
    pixel_values: Tensor | None = None
    grid_thw: tuple[int, int, int] | None = None
    names: Tensor | None = None

    def check(self) -> None:
        """Refuse what no layout can take.

        Raises:
            StampModelError: no dialogue, pixel values without a grid or of another one, or not finite.
        """
        if not self.dialogues:
            raise StampModelError("an image without dialogues")
        where = self.dialogues[0].name
        if (self.pixel_values is None) != (self.grid_thw is None):
            raise StampModelError("pixel values and grid must come together", where=where)
        if self.pixel_values is None or self.grid_thw is None:
            return
        time, height, width = self.grid_thw
        if time != 1 or height % 2 or width % 2 or time * height * width != self.pixel_values.shape[0]:
            raise StampModelError(
                f"grid {self.grid_thw} disagrees with {self.pixel_values.shape[0]} rows of pixel values",
                where=where,
                fix="pass both as the image processor gave them",
            )
        # A sum is finite only if all of it is (or huge: then look again); looking at each value takes twenty times as long.
        if not bool(self.pixel_values.sum().isfinite()) and not bool(self.pixel_values.isfinite().all()):
            raise StampModelError("pixel values are not finite", where=where, fix="check how the image was decoded")


@dataclass(frozen=True)
class LayoutOptions:
    """How sequences are laid out.

    Attributes:
        mask_positions: `grid` or `sequential`, as `StampConfig.mask_positions`.
        text_labels: `answers` supervises what assistants say; `all` every token, image placeholders included, as the
            published trainer does.
        side: labels per side of a merged patch, as the head's `side`.
        words: how many tokens before a `<|seg|>` its mask block names, as `StampConfig.head_words`.
        max_tokens: most tokens of one dialogue with its image and mask blocks; a longer one loses whole turns at its end.
        max_position: rotary positions must stay below this (`max_position_embeddings`).
        pad_to_multiple: round the length up to this, for kernels that are compiled per length.
    """

    mask_positions: str = "grid"
    text_labels: str = "answers"
    side: int = 1
    words: int = 0
    max_tokens: int | None = None
    max_position: int = 32768
    pad_to_multiple: int = 1

    @classmethod
    def of(cls, config: Any, **others: Any) -> LayoutOptions:
        """What a model needs: positions, labels per patch and range from its config; the other options as given."""
        stamp = StampConfig.of(config)
        needed = {
            "mask_positions": stamp.mask_positions,
            "side": head_class(stamp.head).side,
            "words": stamp.head_words,
        }
        return cls(**{**needed, "max_position": config.text_config.max_position_embeddings, **others})

    def __post_init__(self) -> None:
        for value, known in ((self.mask_positions, MASK_POSITIONS), (self.text_labels, TEXT_LABELS)):
            if value not in known:
                raise StampModelError(f"no such layout option {value!r}", fix=f"choose one of {', '.join(known)}")


@dataclass(frozen=True)
class PackedBatch:
    """One sequence, ready for the model.

    Attributes:
        inputs: for `model(inputs=...)`.
        targets: for `stamp_train.methods.stamp.losses`.
        dialogues: names, in order of appearance.
        truncated: names of the dialogues that lost turns.
    """

    inputs: StampInputs
    targets: Targets
    dialogues: tuple[str, ...]
    truncated: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> PackedBatch:
        """The same batch on another device."""
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))
