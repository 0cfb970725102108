"""One change of what is said of a picture, and the change that takes it back."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import msgspec

from stamp_schemas.annotated import AnnotatedImage, DrawnMask, Reviewed, SaidDialogue, SaidPhrase


class Change(msgspec.Struct, omit_defaults=True):
    """Things by id as they are to be, None for what is to go; what is new stands last. notes: of the picture. reviewed: where a
    review begins.
    """

    phrases: dict[str, SaidPhrase | None] = {}
    masks: dict[str, DrawnMask | None] = {}
    dialogues: dict[str, SaidDialogue | None] = {}
    notes: str | None = None
    reviewed: Reviewed | msgspec.UnsetType | None = msgspec.UNSET

    @property
    def accepts(self) -> bool:
        """Whether somebody says by it that something is done."""
        said = [*self.phrases.values(), *self.dialogues.values()]
        return any(one is not None and one.status == "accepted" for one in said)


class _Named(Protocol):
    id: str


_Thing = TypeVar("_Thing", bound=_Named)
KINDS = ("phrases", "masks", "dialogues")


def applied(document: AnnotatedImage, change: Change) -> AnnotatedImage:
    """The document after a change, one revision on. ValueError if it would not hold together."""
    parts: dict[str, Any] = {kind: _put(getattr(document, kind), getattr(change, kind)) for kind in KINDS}
    parts["notes"] = document.notes if change.notes is None else change.notes
    parts["reviewed"] = document.reviewed if change.reviewed is msgspec.UNSET else change.reviewed
    after = msgspec.structs.replace(document, **parts, revision=document.revision + 1)
    return msgspec.convert(msgspec.to_builtins(after), AnnotatedImage)  # what structs say holds of what is read only


def reverse(document: AnnotatedImage, change: Change) -> Change:
    """What takes `change` of this document back, but for the order of things that it removes."""
    before: dict[str, Any] = {}
    for kind in KINDS:
        there = {thing.id: thing for thing in getattr(document, kind)}
        before[kind] = {name: there.get(name) for name in getattr(change, kind)}
    before["reviewed"] = msgspec.UNSET if change.reviewed is msgspec.UNSET else document.reviewed
    return Change(**before, notes=None if change.notes is None else document.notes)


def _put(things: list[_Thing], changed: dict[str, _Thing | None]) -> list[_Thing]:
    for name, thing in changed.items():
        if thing is not None and thing.id != name:
            raise ValueError(f"{name} is called {thing.id}")
    kept = {thing.id: thing for thing in things} | changed
    return [thing for thing in kept.values() if thing is not None]
