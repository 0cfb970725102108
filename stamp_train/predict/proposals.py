"""Masks that a checkpoint proposes for phrases, for people who accept, mend or refuse them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stamp_train.predict.requests import Request, question
from stamp_train.predict.segmenter import Segmenter

TOKENS = 64  # of an answer; to say where something is takes fewer


class Proposer:
    """Asks a model for each phrase as training asks."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    def __call__(self, pixels: NDArray[np.uint8], phrases: Sequence[str]) -> list[NDArray[np.bool_] | None]:
        """For each phrase the union of what the model draws, bool [height, width]; None where it draws nothing.

        pixels: uint8 [height, width, 3] RGB. StampError as `Segmenter.segment_all`.
        """
        picture = Image.fromarray(pixels)
        asked = [Request(picture, question(phrase)) for phrase in phrases]
        answers = self._segmenter.segment_all(asked, max_new_tokens=TOKENS)
        unions = [np.any(answer.masks, axis=0) if answer.masks else None for answer in answers]
        return [None if union is None or not union.any() else union for union in unions]
