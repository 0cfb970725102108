"""Dialogues that somebody wrote: their texts cleaned, and their rounds as a record has them."""

from __future__ import annotations

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.text import TURN_LIMIT, TextFault, clean
from stamp_schemas import Content, Dialogue, Message
from stamp_schemas.annotation import Exchange, Written
from stamp_schemas.record import SEG, WRITTEN, Round

MARK = "\ue000"  # of Unicode's private use: stands for a mask while a text is cleaned


def cleaned(dialogue: Written, rejects: RejectLog) -> Written | None:
    """The dialogue with texts in which nothing acts as a control token; None, with a row, if one cannot be used."""
    turns, removed = list[Exchange](), list[str]()
    try:
        for turn in dialogue.turns:
            question, out = clean(turn.question, TURN_LIMIT, one_line=False)
            answer, more = clean(_marked(turn.answer), TURN_LIMIT, one_line=False)
            removed += out + more
            turns.append(Exchange(question, _pieces(answer, turn.answer)))
    except TextFault as fault:
        rejects.add(*dialogue.where, fault.reason, str(fault), expressions=1)
        return None
    if removed:
        rejects.add(*dialogue.where, "control-token", f"taken out: {', '.join(removed)}", action="cleaned")
    return msgspec.structs.replace(dialogue, turns=turns)


def written(dialogue: Written, number: int, place: dict[int, int]) -> Dialogue:
    """The dialogue in pass `number`: with rounds, whose expressions are their questions; a conversation if it has no masks.

    place: index of each target in the record, by its index in the annotation.
    """
    messages = list[Message]()
    for turn in dialogue.turns:
        picture = [] if messages else [Content("image")]
        answer = "".join(SEG if isinstance(piece, int) else piece for piece in turn.answer).strip()
        messages.append(Message("user", [*picture, Content("text", turn.question)]))
        messages.append(Message("assistant", [Content("text", answer)]))
    where = [*dialogue.where]
    targets = [place[index] for index in dialogue.targets]
    rounds = [
        Round(f"{dialogue.id}-{number}", turn.question, where, relation=WRITTEN)
        for number, turn in enumerate(dialogue.turns, start=1)
    ]
    name = f"{dialogue.id}-p{number}"
    return Dialogue(name, "", targets, messages, where, rounds if targets else msgspec.UNSET)


def _marked(answer: list[str | int]) -> str:
    """An answer as one text, with MARK where a mask stands."""
    return "".join(MARK if isinstance(piece, int) else piece.replace(MARK, "") for piece in answer)


def _pieces(text: str, answer: list[str | int]) -> list[str | int]:
    """A text with MARKs as an answer, with the masks of another in their order."""
    first, *rest = text.split(MARK)
    masks = [piece for piece in answer if isinstance(piece, int)]
    return [first, *(piece for pair in zip(masks, rest, strict=True) for piece in pair)]
