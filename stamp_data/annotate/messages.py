"""What the page and its server say to each other, as JSON; what is sent is bounded."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stamp_data.annotate.assist import Place
from stamp_data.annotate.change import Change
from stamp_schemas.annotated import MOST, AnnotatedImage, Said, SaidDialogue, SaidPhrase

MOST_PLACES = 100  # in one question
State = Literal["untouched", "begun", "done", "needs work", "damaged"]


class Row(msgspec.Struct):
    """A picture in the list. phrases: how many, and dialogues; accepted: of them. fault: why it cannot be opened."""

    name: str
    state: State
    phrases: int = 0
    accepted: int = 0
    fault: str = ""


class Sent(msgspec.Struct):
    """A change as the page sends it, and the revision that it was made of."""

    revision: int
    change: Change


class Written(msgspec.Struct):
    """Phrases as they are being written, and the mask that is chosen."""

    phrases: Annotated[list[SaidPhrase], Meta(max_length=MOST)]
    mask: str = ""


class Named(msgspec.Struct):
    """Phrases that want masks."""

    phrases: Annotated[list[Said], Meta(min_length=1, max_length=MOST)]


class Asked(msgspec.Struct):
    """What the page wants help with: a key of `assist.WITHOUT_WEIGHTS` and places of the picture; or `points`, with places that
    are not to be in it, and two corners of a box.
    """

    tool: str
    places: Annotated[list[Place], Meta(max_length=MOST_PLACES)]
    outside: Annotated[list[Place], Meta(max_length=MOST_PLACES)] = []
    box: Annotated[list[Place], Meta(max_length=2)] = []


class Saved(msgspec.Struct):
    """What became of a change. document: only where the page does not know it. undo, redo: whether there is anything to."""

    revision: int
    undo: bool
    redo: bool
    row: Row
    document: AnnotatedImage | None = None


def row_of(name: str, document: AnnotatedImage | None) -> Row:
    """How far a picture is. document: None if nothing was ever said of it."""
    said: list[SaidPhrase | SaidDialogue] = [*document.phrases, *document.dialogues] if document else []
    statuses = [one.status for one in said]
    accepted = statuses.count("accepted")
    if "needs work" in statuses:
        state: State = "needs work"
    elif statuses:
        state = "done" if accepted == len(statuses) else "begun"
    else:
        state = "begun" if document and (document.masks or document.notes) else "untouched"
    return Row(name, state, len(statuses), accepted)
