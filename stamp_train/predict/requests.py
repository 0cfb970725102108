"""What can be asked of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stamp_data.instructions import wording

if TYPE_CHECKING:
    from stamp_train.generation.prompts import Prompt
    from stamp_train.predict.image import Source


@dataclass(frozen=True, eq=False)
class Request:
    """One question about one picture: a path, a PIL picture, uint8 [height, width, 3], or None for text alone.

    text: what is asked, word for word (`question` makes it of an expression); or messages, see
    `stamp_train.sequence.chat.ChatEncoder.encode`. name: for messages; by default the picture's path.
    """

    image: Source | None
    text: Prompt
    name: str = ""


def question(expression: str) -> str:
    """The question that asks for the mask of what an expression describes, the first of the paper's (Prompt S1).

    >>> question("left dog")
    'Please segment only the left dog in the image.'
    """
    return wording("paper").phrase.questions[0].replace("[class_name]", expression)
