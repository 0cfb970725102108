"""Questions and answers around an expression: which wordings there are (data files) and how one is drawn.

The draw is a pure function of (seed, record key, dialogue id), so the same input gives the same bytes in whatever order
and on however many workers the records are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_schemas import Request
from stamp_schemas.annotation import Form
from stamp_schemas.record import SEG

FORMS: tuple[Form, ...] = ("phrase", "question", "description")  # of templates that need nothing but an expression


class Templates(msgspec.Struct, frozen=True):
    """Wordings of one form. `[class_name]` and `{sent}` stand for the expression, `{answer}` for a known answer in words."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


class Wording(msgspec.Struct, frozen=True):
    """One complete set of templates; `about` says where it is from and what was decided."""

    about: tuple[str, ...]
    phrase: Templates
    description: Templates
    question: Templates
    explanation: Templates


@lru_cache
def wording(name: str) -> Wording:
    """The set of templates called `name`: `paper` or `published`."""
    return msgspec.json.decode(Path(__file__).with_name(f"{name}.json").read_bytes(), type=Wording)


def draw(
    request: Request, key: str, dialogue_id: str, seed: int, name: str, questions: Sequence[str] = ()
) -> tuple[str, str]:
    """Question and answer for one dialogue. The answer holds one `<|seg|>` per target of the request.

    questions: templates to draw from instead of those of its form.
    Both draws come from one 64-bit hash of (seed, key, dialogue id): low and high half, reduced modulo the number of
    templates (bias below 3e-9).
    """
    templates: Templates = getattr(wording(name), request.form)
    number = xxh3_64_intdigest(f"{seed}/{key}/{dialogue_id}".encode())
    questions = questions or templates.questions
    question = questions[(number & 0xFFFFFFFF) % len(questions)]
    answer = templates.answers[(number >> 32) % len(templates.answers)]
    texts = request.text, request.answer, len(request.targets)
    return _fill(question, *texts), _fill(answer, *texts)


def alternatives(text: str, part: Literal["questions", "answers"], expression: str, masks: int, name: str) -> list[str]:
    """All that the draw of `text` could have given, itself included, in the order of the templates.

    [] if it was drawn from none that ask for an expression and say nothing else. masks: `<|seg|>` of the answer.
    """
    for form in FORMS:
        filled = [_fill(one, expression, "", masks) for one in getattr(getattr(wording(name), form), part)]
        if text in filled:
            return filled
    return []


def _fill(template: str, text: str, answer: str, masks: int) -> str:
    """Put the texts in; source text holds no placeholder (`stamp_data.text`), so the order does not matter."""
    if masks != 1:
        template = template.replace(SEG, " ".join([SEG] * masks))
    return template.replace("[class_name]", text).replace("{sent}", text).replace("{answer}", answer)
