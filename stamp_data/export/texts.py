"""What the texts of a dialogue are: one question and one answer, or more; drawn around an expression, or said by the source."""

from __future__ import annotations

from typing import get_args

from stamp_data.instructions import alternatives
from stamp_schemas import Dialogue, Wording


def single_round(dialogue: Dialogue) -> tuple[str, str] | None:
    """Question and answer of a dialogue that is just these two, else None."""
    if [message.role for message in dialogue.messages] != ["user", "assistant"]:
        return None
    question, answer = ("".join(part.text for part in message.content) for message in dialogue.messages)
    return question, answer


def answers_in_words(dialogue: Dialogue) -> bool:
    """Whether the answer to an expression says more than that there is a mask, as explanations do."""
    texts = single_round(dialogue)
    if texts is None or not dialogue.expression:
        return False
    drawn = (
        alternatives(texts[1], "answers", dialogue.expression, len(dialogue.targets), name)
        for name in get_args(Wording)
    )
    return not any(drawn)
