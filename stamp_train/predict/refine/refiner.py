"""What the rest of the project sees of refinement, and that no answer fails for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stamp_train.predict.refine.faults import on_one_line

Mask = NDArray[np.bool_]
Say = Callable[[str], None]


class Refiner(Protocol):
    """Makes masks better.

    Attributes:
        name: for results: what refines, with which settings and seed; `none` where nothing does.
        failed: masks so far that could not be refined and were given back as they came.
    """

    name: str
    failed: int

    def refine(self, image: NDArray[np.uint8], logits: NDArray[np.float32], mask: Mask) -> Mask:
        """One mask refined, bool [height, width]; an empty one stays empty.

        Args:
            image: uint8 [height, width, 3], RGB.
            logits: float32 [h, w], the model's logit picture, a grid of any size over the whole picture.
            mask: bool [height, width], what the model's mask is without refinement.
        """

    def refine_all(
        self, image: NDArray[np.uint8], logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]
    ) -> list[Mask]:
        """All masks of one picture at once: the same masks as `refine` gives, in less time."""


class Unrefined:
    """Stands in where no refiner can be had: masks come back as they were."""

    name = "none"
    failed = 0

    def refine(self, image: NDArray[np.uint8], logits: NDArray[np.float32], mask: Mask) -> Mask:
        """See `Refiner`."""
        return self.refine_all(image, [logits], [mask])[0]

    def refine_all(
        self,
        image: NDArray[np.uint8],  # noqa: ARG002 - one signature
        logits: Sequence[NDArray[np.float32]],  # noqa: ARG002
        masks: Sequence[Mask],
    ) -> list[Mask]:
        """See `Refiner`."""
        return [mask.copy() for mask in masks]


def works(refiner: Refiner | None) -> bool:
    """Whether there is a refiner that was to be had."""
    return refiner is not None and refiner.name != Unrefined.name


class Fallible(Protocol):
    """A refiner that may raise."""

    name: str

    def refine_all(
        self, image: NDArray[np.uint8], logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]
    ) -> list[Mask]:
        """See `Refiner`."""

    def forget(self) -> None:
        """Give back memory that only saves time."""


class Steady:
    """A `Refiner` over one that may raise: then masks come back unrefined, and each reason is said once.

    Args:
        refiner: does the work.
        say: gets one line.
    """

    def __init__(self, refiner: Fallible, say: Say) -> None:
        self.name, self.failed = refiner.name, 0
        self._refiner, self._say = refiner, say
        self._said: set[str] = set()

    def refine(self, image: NDArray[np.uint8], logits: NDArray[np.float32], mask: Mask) -> Mask:
        """See `Refiner`."""
        return self.refine_all(image, [logits], [mask])[0]

    def refine_all(
        self, image: NDArray[np.uint8], logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]
    ) -> list[Mask]:
        """See `Refiner`."""
        try:
            return self._refiner.refine_all(image, logits, masks)
        except Exception as error:  # a refiner is an extra: whatever it dies of, the mask is there
            self._refiner.forget()
            if len(masks) == 1:
                self._tell(error)
                self.failed += 1
                return [masks[0].copy()]
        # One bad mask must not take the others along, and one at a time needs less memory.
        return [self.refine(image, picture, mask) for picture, mask in zip(logits, masks, strict=True)]

    def _tell(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {on_one_line(error)}".removesuffix(": ")
        kind = re.sub(r"\d+", "", reason)  # sizes and addresses do not make it another reason
        if kind not in self._said:
            self._said.add(kind)
            self._say(f"{self.name}: a mask stays unrefined: {reason}")


def to_stderr(text: str) -> None:
    """One line to the person at the terminal."""
    print(text, file=sys.stderr, flush=True)
