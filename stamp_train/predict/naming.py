"""The names of things in what a model says of a picture: a list, sentences, or an answer of those that it was trained on."""

from __future__ import annotations

import re
from functools import cache

from stamp_data.inspect.record_stats import normalised
from stamp_data.instructions import wording
from stamp_data.text import CONTROL_TOKEN

MOST = 20  # things of one answer
WORDS = 10  # of a name; a longer one is a sentence
_PLACE = re.escape("[class_name]")
_BETWEEN = re.compile(
    rf"{CONTROL_TOKEN.pattern}|[,;\n]|[.!?](?=\s|$)|\s+and\s+(?=(?:an?|the|some|another|one|two|three|four|many)\s)",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"^(?:sure|certainly|and|[-*•]|\d+[.)]|(?:in|on) (?:the|this) (?:image|picture|photo)|there (?:is|are)"
    r"|(?:i|you|we|one)(?: can)? see|(?:the|this|it)(?: image| picture| photo)? (?:shows|contains|features|depicts|has))"
    r"(?:\W+|$)",
    re.IGNORECASE,
)


def names_in(content: str, *, ended: bool = True) -> list[str]:
    """Names, each once, in their order; at most `MOST`.

    content: an answer with `<|seg|>` in its places, which end a name as a comma does. ended: False where a limit has cut it
    off, and with it its last name.

    >>> names_in("In this picture there are: a red cup <|seg|>, two dogs and a boat.")
    ['a red cup', 'two dogs', 'a boat']
    """
    said = content.strip()
    for answer in _answers():
        if found := answer.fullmatch(said):
            return _distinct([found.group(1)])
    parts = _BETWEEN.split(re.sub(r"^[^:\n]*:(?=\s*\S)", "", said))
    return _distinct([part for part in parts if part is not None][: None if ended else -1])


@cache
def _answers() -> list[re.Pattern[str]]:
    """The answers that models learn to give, each with a name in it."""
    found = [answer for name in ("paper", "published") for answer in wording(name).phrase.answers]
    return [re.compile(re.escape(answer).replace(_PLACE, "(.+)")) for answer in dict.fromkeys(found)]


def _distinct(parts: list[str]) -> list[str]:
    names: dict[str, str] = {}
    for part in parts:
        name = _bare(part)
        if any(map(str.isalpha, name)) and len(name.split()) <= WORDS:
            names.setdefault(normalised(name), name)
    return list(names.values())[:MOST]


def _bare(part: str) -> str:
    """Without what leads to a name, and without marks around it."""
    name = part.strip()
    while lead := _LEAD.match(name):
        name = name[lead.end() :]
    return " ".join(name.strip(" \t.:\"'“”‘’*").split())
