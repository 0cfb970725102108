"""How a question refers to the mask of an earlier round (rounds.json), and which names may mean the same thing."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import msgspec

SPEAKABLE = re.compile(r"[^\W\d_]+(?:[ '-][^\W\d_]+)*")  # a name that can stand in a sentence


class RoundWording(msgspec.Struct, frozen=True):
    """The templates. `[class_name]` stands for a reference; `{name}`, `{anchor}` and `{ordinal}` for the parts of one.

    relations: by the names that `stamp_data.build.scene` has. other_of_that_name: another way to say `other`, where the
    question before named the thing. ordinals: of rounds, hence as many as a dialogue may have.
    """

    about: tuple[str, ...]
    questions: tuple[str, ...]
    relations: dict[str, tuple[str, ...]]
    other_of_that_name: str
    last_anchor: str
    earlier_anchor: str
    ordinals: tuple[str, ...]
    nameless: tuple[str, ...]
    kin: tuple[tuple[str, ...], ...]


@lru_cache
def round_wording() -> RoundWording:
    """The templates of rounds.json."""
    return msgspec.json.decode(Path(__file__).with_name("rounds.json").read_bytes(), type=RoundWording)


def anchor_text(anchor: int, round_number: int) -> str:
    """How round `round_number` calls what round `anchor` has found; both from 0."""
    templates = round_wording()
    if anchor == round_number - 1:
        return templates.last_anchor
    return templates.earlier_anchor.replace("{ordinal}", templates.ordinals[anchor])


@lru_cache(maxsize=4096)
def kind(name: str) -> str:
    """What a name says a thing is: two things may be called the same if their kinds are equal. "" for a name that says nothing.

    Its last word, without case and plural, or the family of words that this belongs to: `traffic light` is a light.
    """
    words = re.findall(r"[^\W\d_]+", name.casefold())
    if not words or words[-1] in round_wording().nameless:
        return ""
    last, single = words[-1], words[-1].removesuffix("s")
    return next((family[0] for family in round_wording().kin if last in family or single in family), single)
