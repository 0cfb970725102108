"""Dialogues of a document, whose answers hold the masks of phrases of their picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.phrases import QUOTED
from stamp_data.text import look
from stamp_schemas import Request
from stamp_schemas.annotation import Exchange, Written


@dataclass(slots=True)
class Talk:
    """A dialogue that a document holds. record: the place in the file. turns: each a question, and an answer in pieces of text
    and (phrase,), where a mask stands: that of this phrase of the picture.
    """

    record: str
    id: str
    turns: list[tuple[str, list[str | tuple[str]]]]
    fault: RecordFault | None = None


def written(talks: Iterable[Talk], requests: Iterable[Request], file: str, rejects: RejectLog) -> Iterator[Written]:
    """The dialogues whose masks all are those of requests; the others are reject rows of a file."""
    known = {look(request.text): request.targets for request in requests}
    for talk in talks:
        fault = talk.fault
        turns = []
        for question, pieces in talk.turns:
            answer: list[str | int] = []
            for piece in pieces:
                if isinstance(piece, str):
                    answer.append(piece)
                elif targets := known.get(look(" ".join(piece[0].split()))):
                    answer += targets
                else:
                    fault = fault or RecordFault("no-target", f"{piece[0][:QUOTED]!r} has no mask that can be used")
            turns.append(Exchange(question, answer))
        if fault:
            rejects.add(file, talk.record, fault.reason, fault.detail, expressions=1)
        else:
            yield Written(talk.id, turns, (file, talk.record))
