"""Phrases and masks that a checkpoint proposes, for people who accept, mend or refuse them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stamp_schemas import StampError
from stamp_train.predict.naming import names_in
from stamp_train.predict.requests import Request, question
from stamp_train.predict.segmenter import Segmenter

TOKENS = 64  # of an answer; to say where something is takes fewer
NAMING = "Name each thing in this image, separated by commas."
NAMES = 160  # tokens of the answer to that
TOLD = 80  # characters of an answer that names nothing


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

    def describe(self, pixels: NDArray[np.uint8]) -> list[str]:
        """Phrases for what the model sees in a picture, as it names things when it is asked to.

        Every checkpoint can be asked so: it takes words alone, and what it draws for them is asked as in training. StampError
        where the answer names nothing, as of a model that has learned to draw and to say nothing else.
        """
        (answer,) = self._segmenter.segment_all([Request(Image.fromarray(pixels), NAMING)], max_new_tokens=NAMES)
        found = names_in(answer.content, ended=answer.finish == "stop")
        if not found:
            raise StampError(
                f"this model names nothing here; it says {answer.text.strip()[:TOLD]!r}",
                "write the phrases (n), and ask it for masks (*)",
            )
        return found
