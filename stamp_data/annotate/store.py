"""A folder of annotations: a file for each picture, whole at any moment, with its journal beside it.

A change is a line of the journal first, then a new file in the place of the old one. Whoever was killed in between finds the
change in the journal. Every change names the revision that it was made of: one that has seen an older one is refused.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from blake3 import blake3

from stamp_data import rle
from stamp_data.annotate.change import KINDS, Change, applied, reverse
from stamp_data.annotate.journal import Entry, Journal, Kind
from stamp_data.files import MISSING, UNDECODABLE, Stamp, read_plain, stamp
from stamp_data.writing import json_text, write_atomic
from stamp_schemas import StampError
from stamp_schemas.annotated import (
    ANNOTATED_SCHEMA,
    FILE_LIMIT,
    AnnotatedImage,
    DrawnMask,
    ImageFile,
    Made,
    SaidDialogue,
    SaidPhrase,
)
from stamp_schemas.errors import first_line
from stamp_schemas.extras import PROJECT

SUFFIX = ".json"
JOURNALS = ".journal"
KEPT = 8  # pictures whose changes are in memory
LONGEST = 200  # bytes of a picture's name that can be that of files; those of writers are longer
HINT = "mend the file, or take it away: what its journal knows is done again"


class Conflict(StampError):
    """Somebody else changed the same picture meanwhile. `document` is what is there now."""

    def __init__(self, document: AnnotatedImage) -> None:
        super().__init__("this picture was changed elsewhere, in another tab perhaps", "load what is there now")
        self.document = document


class Opened:
    """What is said of one picture, and what was done to it."""

    def __init__(self, path: Path, journal: Journal, document: AnnotatedImage) -> None:
        self.path, self.journal, self.document = path, journal, document
        self.seen = stamp(str(path))


class Store:
    """Annotations of the pictures of one folder. folder: of the files, made with the first. by: who changes them."""

    def __init__(self, folder: Path, by: str = "") -> None:
        self.folder, self.by = folder, by
        self._tool = f"{PROJECT} {version(PROJECT)}"
        self._opened: dict[str, Opened] = {}
        self._lock = Lock()

    def file(self, image: str) -> Path:
        """Where the annotations of a picture lie. image: its path relative to the pictures' folder."""
        return self._place(self.folder, image, SUFFIX)

    def seen(self, image: str) -> Stamp:
        """What tells whether the file of a picture is still the one that was read."""
        return stamp(str(self.file(image)))

    def peek(self, image: str) -> AnnotatedImage | None:
        """The file of a picture, None without one; StampError if it is damaged. It is read anew, and not kept in memory."""
        path = self.file(image)
        return self._load(path, image) if stamp(str(path)) != MISSING else None

    def open(self, image: ImageFile) -> Opened:
        """The annotations of a picture as they stand. StampError if its file is damaged, or is of another size."""
        with self._lock:
            return self._open(image)

    def change(self, image: ImageFile, revision: int, change: Change) -> Opened:
        """Change what is said of a picture. Conflict if that has another revision; StampError if it cannot be so, or cannot
        be written.
        """
        with self._lock:
            opened = self._at(image, revision)
            signed = self._signed(opened.document, change)
            return self._do(opened, "edit", signed, reverse(opened.document, signed))

    def undo(self, image: ImageFile, revision: int) -> Opened:
        """Take the last change back, if there is one, also of an earlier session; faults as `change`."""
        with self._lock:
            opened = self._at(image, revision)
            entry = opened.journal.undoable
            return self._do(opened, "undo", entry.back, entry.change) if entry else opened

    def redo(self, image: ImageFile, revision: int) -> Opened:
        """Do again what was taken back last, if nothing was done since; faults as `change`."""
        with self._lock:
            opened = self._at(image, revision)
            entry = opened.journal.redoable
            return self._do(opened, "redo", entry.change, entry.back) if entry else opened

    def _place(self, folder: Path, image: str, suffix: str) -> Path:
        inner, _, name = image.rpartition("/")
        if len(name.encode()) > LONGEST:
            name = blake3(name.encode()).hexdigest()[:32]
        return folder / inner / f"{name}{suffix}"

    def _at(self, image: ImageFile, revision: int) -> Opened:
        opened = self._open(image)
        if opened.document.revision != revision:
            raise Conflict(opened.document)
        return opened

    def _open(self, image: ImageFile) -> Opened:
        path = self.file(image.path)
        kept = self._opened.get(image.path)
        if kept is not None and kept.seen == stamp(str(path)) and kept.document.image == image:
            return kept
        place = self._place(self.folder / JOURNALS, image.path, ".jsonl")
        for one in (path, place):
            self._check_inside(one)
        document = self._load(path, image.path) if path.exists() else AnnotatedImage(ANNOTATED_SCHEMA, image)
        if (document.image.width, document.image.height) != (image.width, image.height):
            size = f"{document.image.width}×{document.image.height}"
            raise StampError(f"{path}: of a picture of {size} pixels; it has {image.width}×{image.height} now", HINT)
        try:
            journal = Journal(place, self.folder)
        except OSError as fault:
            raise StampError(f"{fault.filename}: {fault.strerror}") from None
        opened = Opened(path, journal, document)
        self._recover(opened)
        journal.entries.clear()  # what can be taken back is kept apart
        self._opened[image.path] = opened
        if len(self._opened) > KEPT:
            del self._opened[next(iter(self._opened))]
        return opened

    def _recover(self, opened: Opened) -> None:
        """Do what the journal knows and the file does not."""
        entries = opened.journal.entries
        missing = [entry for entry in entries if entry.revision > opened.document.revision]
        last = entries[-1].revision if entries else opened.document.revision
        if last < opened.document.revision or (missing and missing[0].revision != opened.document.revision + 1):
            opened.journal.forget()
            return
        try:
            for entry in missing:
                opened.document = applied(opened.document, entry.change)
        except ValueError:
            opened.journal.forget()
            return
        if missing:
            self._write(opened)

    def _do(self, opened: Opened, kind: Kind, change: Change, back: Change) -> Opened:
        for mask in filter(None, change.masks.values()):
            _check_mask(mask, opened.document.image)
        try:
            after = applied(opened.document, change)
        except (ValueError, msgspec.MsgspecError) as fault:
            raise StampError(f"this cannot be kept: {first_line(fault)}") from None
        try:
            opened.journal.add(Entry(after.revision, kind, change, back, _now(), self.by))
        except OSError as fault:
            raise StampError(f"nothing was saved: {fault.strerror}: {fault.filename}", "nothing was lost") from None
        opened.document = after
        self._write(opened)
        return opened

    def _write(self, opened: Opened) -> None:
        try:
            opened.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(opened.path, json_text(opened.document))
        except OSError as fault:
            self._opened.pop(
                opened.document.image.path, None
            )  # so that it is made from the journal when it is opened next
            raise StampError(
                f"saved in the journal alone: {fault.strerror}: {fault.filename}", "make room, and load the page again"
            ) from None
        opened.seen = stamp(str(opened.path))

    def _check_inside(self, path: Path) -> None:
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise StampError(f"{path}: a link that leads out of the folder", "take it away")

    def _load(self, path: Path, image: str) -> AnnotatedImage:
        self._check_inside(path)
        document = load_document(path)
        if document.image.path != image:
            raise StampError(f"{path}: of another picture, {document.image.path[:100]!r}", HINT)
        return document

    def _signed(self, document: AnnotatedImage, change: Change) -> Change:
        """The change with who made it, when and with what. Seconds of work add up over changes."""
        signed: dict[str, Any] = {}
        for kind in KINDS:
            before = {thing.id: thing.made.seconds for thing in getattr(document, kind)}
            signed[kind] = {}
            for name, thing in getattr(change, kind).items():
                spent = before.get(name, 0.0) + thing.made.seconds if thing else 0.0
                made = Made(_author(thing) or self.by, _now(), self._tool, round(spent, 1))
                signed[kind][name] = thing and msgspec.structs.replace(thing, made=made)
        return msgspec.structs.replace(change, **signed)


def load_document(path: Path) -> AnnotatedImage:
    """A file of annotations, with masks that are proven to be good; StampError names the file and the fault."""
    try:
        document = msgspec.json.decode(read_plain(path, FILE_LIMIT), type=AnnotatedImage)
        for mask in document.masks:
            _check_mask(mask, document.image)
    except UNDECODABLE as fault:
        raise StampError(f"{path}: damaged: {first_line(fault)}", HINT) from None
    except OSError as fault:
        raise StampError(f"{path}: {fault.strerror}", HINT) from None
    except StampError as fault:
        raise StampError(f"{path}: {fault.message.removeprefix(f'{path}: ')}", fault.hint or HINT) from None
    return document


def _check_mask(mask: DrawnMask, image: ImageFile) -> None:
    try:
        for one in (mask.rle, mask.proposal.rle) if mask.proposal else (mask.rle,):
            rle.checked_runs(image.height, image.width, one.size, one.counts)
    except (ValueError, OverflowError) as fault:
        raise StampError(f"a mask cannot be read: {fault}") from None


def _author(thing: SaidPhrase | DrawnMask | SaidDialogue | None) -> str:
    """The model that proposed a mask which nobody changed, or worded a phrase that nobody has looked at; else ""."""
    if thing is None or isinstance(thing, SaidDialogue) or thing.proposal is None:
        return ""
    if isinstance(thing, DrawnMask):
        return thing.proposal.model if thing.rle == thing.proposal.rle else ""
    return thing.proposal.model if thing.status == "proposed" else ""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
