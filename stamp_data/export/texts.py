"""What the texts of a dialogue are: one question and one answer, or more; drawn around an expression, or said by the source."""

from __future__ import annotations

from typing import get_args

import msgspec

from stamp_data.instructions import alternatives
from stamp_schemas import Dialogue, Record, Wording


def requests_of(record: Record) -> list[Dialogue]:
    """The dialogues of a record, each that was joined of several requests as those."""
    return [one for dialogue in record.dialogues for one in _parted(dialogue)]


def _parted(dialogue: Dialogue) -> list[Dialogue]:
    """The requests that a dialogue was joined of, called as they would be without; else itself, as one written as a whole.

    One that refers to an earlier mask keeps its round, which has what is said in place of the expression.
    """
    if dialogue.rounds is msgspec.UNSET or dialogue.is_written:
        return [dialogue]
    number = dialogue.id.rpartition("-p")[2]
    picture = [part for part in dialogue.messages[0].content if part.type == "image"]
    found, before = [], 0
    for place, one in enumerate(dialogue.rounds):
        question, answer = dialogue.messages[2 * place : 2 * place + 2]
        asked = msgspec.structs.replace(question, content=question.content if not place else picture + question.content)
        targets = dialogue.targets[before : before + answer.masks]
        said = [one] if one.reference else msgspec.UNSET
        found.append(Dialogue(f"{one.id}-p{number}", one.expression, targets, [asked, answer], one.where, said))
        before += answer.masks
    return found


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
        alternatives(texts[1], "answers", dialogue.said(0), len(dialogue.targets), name) for name in get_args(Wording)
    )
    return not any(drawn)
