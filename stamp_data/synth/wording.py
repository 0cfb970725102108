"""Queries in words. Each way of speaking is a table, so that what a phrase means can be looked up."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stamp_data.synth.phrases import Beside, Condition, Extreme, Kind, Part, Query
from stamp_data.synth.scene import pick
from stamp_data.synth.shapes import SHAPES

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")

_EXTREME: dict[str, tuple[str, ...]] = {
    "left": ("leftmost {}", "{} on the far left"),
    "right": ("rightmost {}", "{} on the far right"),
    "top": ("topmost {}", "{} at the very top"),
    "bottom": ("lowest {}", "{} at the very bottom"),
    "largest": ("largest {}", "biggest {}"),
    "smallest": ("smallest {}", "tiniest {}"),
}
_SIDE: dict[str, tuple[str, ...]] = {
    "left": ("left {}", "{} on the left"),
    "right": ("right {}", "{} on the right"),
    "top": ("upper {}", "{} at the top"),
    "bottom": ("lower {}", "{} at the bottom"),
}
_BESIDE: dict[str, tuple[str, ...]] = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "top": ("above",),
    "bottom": ("below",),
}
_LONG_BESIDE: dict[str, tuple[str, ...]] = {
    "left": ("that is to the left of", "which can be seen left of"),
    "right": ("that is to the right of", "which can be seen right of"),
    "top": ("that is above", "which can be seen above"),
    "bottom": ("that is below", "which can be seen below"),
}


def noun(kind: Kind, plural: bool = False) -> str:
    """The name of a kind: "red circle", "stars", "blue objects"."""
    one, many = ("object", "objects") if kind.shape is None else (kind.shape, SHAPES[kind.shape].plural)
    word = many if plural else one
    return f"{kind.colour} {word}" if kind.colour else word


def short(query: Query, rng: np.random.Generator) -> str:
    """A phrase as players of a guessing game type it: "biggest red circle", "the star left of the ring"."""
    words = noun(query.kind)
    for condition in query.conditions:
        words = _short_condition(words, condition, rng)
    return f"the {words}" if rng.random() < 0.4 else words


def _short_condition(words: str, condition: Condition, rng: np.random.Generator) -> str:
    if isinstance(condition, Extreme):
        return pick(_EXTREME[condition.which], rng).format(words)
    if isinstance(condition, Part):
        if condition.vertical and condition.horizontal:
            return f"{words} in the {condition.vertical} {condition.horizontal} corner"
        return pick(_SIDE[condition.vertical or condition.horizontal or ""], rng).format(words)
    return f"{words} {pick(_BESIDE[condition.side], rng)} the {noun(condition.anchor)}"


def long(query: Query, rng: np.random.Generator) -> str:
    """A whole noun phrase: "the largest red circle in the picture, which can be seen above the blue star"."""
    words, tails = noun(query.kind), []
    for condition in query.conditions:
        if isinstance(condition, Extreme):
            words = _EXTREME[condition.which][0].format(words)
        elif isinstance(condition, Part):  # a corner: long sentences speak of no sides
            tails.append(f"in the {condition.vertical} {condition.horizontal} corner of the picture")
        else:
            tails.append(f"{pick(_LONG_BESIDE[condition.side], rng)} the {noun(condition.anchor)}")
    if not tails:
        tails = [pick(("in the picture", "that is shown in this picture"), rng)]
    return f"the {words} {tails[0]}" + "".join(f", {tail}" for tail in tails[1:])


def several(query: Query, count: int, rng: np.random.Generator) -> str:
    """A phrase for all `count` things of a query: "both red circles", "all objects left of the star"."""
    words = noun(query.kind, plural=True)
    for condition in query.conditions:
        assert isinstance(condition, Beside), "only neighbours are spoken of in the plural"
        words = _short_condition(words, condition, rng)
    ways = ["all {}", "all the {}", "both {}" if count == 2 else "every one of the {}", f"the {NUMBERS[count]} {{}}"]
    return pick(ways, rng).format(words)


def with_article(kind: Kind) -> str:
    """The name of a kind after "a" or "an"."""
    words = noun(kind)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def sentence(text: str, sent_id: int, raw: str | None = None) -> dict[str, object]:
    """A sentence record of the REFER formats: tokens in lower case, punctuation apart, no full stop."""
    tokens = re.findall(r"\w+|[^\w\s]", text.lower())
    return {"tokens": tokens, "raw": raw or text, "sent_id": sent_id, "sent": " ".join(tokens)}


def listed(kinds: Sequence[Kind]) -> str:
    """Things one after another: "the red circle, the blue star and two green rings"."""
    counts: dict[Kind, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    names = [f"the {noun(k)}" if n == 1 else f"the {NUMBERS[n]} {noun(k, plural=True)}" for k, n in counts.items()]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
