"""Folders of `stamp-data annotate` (docs/annotate.md): a file for each picture; what is accepted is built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.formats.talks import Talk
from stamp_data.sources.jsonfile import decode, read_buffer
from stamp_data.sources.phrases import IGNORE
from stamp_schemas.annotated import FILE_LIMIT, LINK, AnnotatedImage, SaidDialogue

FOLDER = "annotations"  # as the command calls it, in the pictures' own folder


class Annotated(FormatSource):
    dataset = "annotations"
    frame = "upright"
    format = "stamp-data annotate"
    marks = (b'"stamp.annotations/1"',)
    one_each = True

    @property
    def roots(self) -> tuple[Path, ...]:
        root = self.root.resolve()
        beside = (root.parent,) if root.name == FOLDER else ()
        return (*super().roots, *beside)

    def folder_of(self, path: Path) -> str:  # noqa: ARG002 - wherever the file lies, its picture's path is the whole one
        return ""

    def read(self, path: Path) -> AnnotatedImage:
        return decode(read_buffer(path, FILE_LIMIT), path, AnnotatedImage)

    def pictures(
        self,
        document: AnnotatedImage,
        path: Path,  # noqa: ARG002 - the document names its picture
        rejects: RejectLog,  # noqa: ARG002 - faults stand with the things
    ) -> Iterator[Pictured]:
        image = document.image
        talks = [_talk(dialogue, document) for dialogue in document.dialogues]
        yield Pictured("picture", [image.path], list(_things(document)), image.width, image.height, talks=talks)


def _things(document: AnnotatedImage) -> Iterator[Thing]:
    """The masks with the accepted phrases that name them, and phrases that name nothing."""
    said: dict[str, list[str]] = {mask.id: [] for mask in document.masks}
    ignored = {mask.id for mask in document.masks if mask.role == "ignore"}
    told: set[str] = set()  # masks of phrases that have told why they are left out
    for phrase in document.phrases:
        record = f"phrase {phrase.id}"
        if phrase.status != "accepted":
            told.update(phrase.masks)
            yield Thing(record, [], fault=RecordFault("not-accepted", f"it is {phrase.status}"))
        elif phrase.text.strip() == IGNORE:
            told.update(phrase.masks)
            why = f"{IGNORE} is no phrase: what is to be ignored is a mask of that role"
            yield Thing(record, [], fault=RecordFault("reserved-words", why))
        elif phrase.nothing:
            yield Thing(record, [phrase.text])
        elif ignored.issuperset(phrase.masks):
            yield Thing(record, [phrase.text], fault=RecordFault("no-target", "it names only what is to be ignored"))
        else:
            for name in phrase.masks:
                said[name].append(phrase.text)
    for mask in document.masks:
        if mask.role == "rejected":
            continue
        phrases = [IGNORE] if mask.role == "ignore" else said[mask.id]
        if phrases or mask.id not in told:
            segmentation = msgspec.Raw(msgspec.json.encode(mask.rle))
            yield Thing(f"mask {mask.id}", phrases, segmentation, mask.id, mask.categories)


def _talk(dialogue: SaidDialogue, document: AnnotatedImage) -> Talk:
    """A dialogue in which the masks of a phrase follow the words that stand for them."""
    said = {phrase.id: phrase for phrase in document.phrases}
    status = [dialogue.status, *(said[name].status for name in dialogue.phrases)]
    fault = (
        None if set(status) == {"accepted"} else RecordFault("not-accepted", "it, or a phrase in it, is not accepted")
    )
    turns = []
    for turn in dialogue.turns:
        pieces: list[str | tuple[str]] = []
        end = 0
        for link in LINK.finditer(turn.answer):
            words, phrase = link.groups()
            pieces += [turn.answer[end : link.start()] + words + (" " if words else ""), (said[phrase].text,)]
            end = link.end()
        turns.append((turn.question, [*pieces, turn.answer[end:]]))
    return Talk(f"dialogue {dialogue.id}", dialogue.id, turns, fault)
