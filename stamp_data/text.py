"""Source text made safe: in a dialogue nothing in it acts as a control token or a placeholder, and no terminal obeys it."""

from __future__ import annotations

import re
import unicodedata
from itertools import count

EXPRESSION_LIMIT = 2_000  # characters; the longest published expression has a few hundred
TURN_LIMIT = 32_000  # characters of one turn of a conversation
MOST_NESTED = 8  # tokens within tokens within tokens; more is an attack, and would cost a pass over the text each

CONTROL_TOKEN = re.compile(r"<\|[^<>|]*\|>|\[class_name\]|\{sent\}|\{answer\}|<image>|<video>", re.IGNORECASE)
"""What must never stand in an expression or a message, besides the `<|seg|>` of our own answers."""

_UNSEEN = "\u00ad\u200b\u200e\u200f\u2060 "  # without width, besides spaces

CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


class TextFault(ValueError):
    """A text that cannot be used at all. `reason` is the stable code of the reject row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def clean(text: str, limit: int, *, one_line: bool) -> tuple[str, list[str]]:
    """`text` without control tokens, placeholders and control characters, and the list of what was taken out.

    Tokens are removed until none is left, since removing one can join the halves of another. `one_line` also turns every
    run of white space into one space, as suits an expression; texts are stripped either way. Raises TextFault if nothing
    is left, the text is longer than `limit` characters, or tokens are nested deeper than anyone would by accident.
    """
    if len(text) > limit:
        raise TextFault("text-too-long", f"{len(text):,} characters; at most {limit:,} are taken")
    removed: list[str] = []
    if CONTROL_CHARACTER.search(text):
        removed.append("control characters")
        text = CONTROL_CHARACTER.sub(" ", text)
    for depth in count(1):
        found = CONTROL_TOKEN.findall(text)
        if not found:
            break
        if depth > MOST_NESTED:
            raise TextFault("control-token", f"tokens nested more than {MOST_NESTED} deep")
        removed.extend(found)
        text = CONTROL_TOKEN.sub(" ", text)
    if one_line:
        text = " ".join(text.split())
    elif removed:
        text = re.sub(r"[ \t]+", " ", text)
    text = text.strip()
    if not look(text):
        raise TextFault("empty-text", "no text" if not removed else f"no text besides {', '.join(removed[:5])}")
    return text, removed


def look(text: str) -> str:
    """What two texts have in common that look the same: composed (macOS writes `é` as two characters), and without what cannot
    be seen at the ends.
    """
    return unicodedata.normalize("NFC", text).strip(_UNSEEN)


def printable(text: str, keep: str = "") -> str:
    """`text` on one line, without anything that a terminal would obey; of such characters those of `keep` stay as they are."""
    return "".join(
        char
        if char.isprintable() or char in keep or unicodedata.category(char) == "Zs"
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
