"""Why a raw record is refused or altered: every reason that a source writes into rejects.jsonl, and the exception for it."""

from __future__ import annotations

from pathlib import Path

from stamp_schemas import StampError

REASONS: dict[str, str] = {
    "annotation-missing": "the reference names an annotation that the instances file does not hold",
    "bad-annotation": "the annotation lacks a key or one of its values has the wrong type",
    "bad-conversation": "turns are missing, empty, out of turn, or of an unknown speaker",
    "bad-image": "the image entry lacks a key or one of its values has the wrong type or sign",
    "bad-reference": "the reference lacks a key or one of its values has the wrong type",
    "bad-segmentation": "the segmentation is absent or is neither a list nor an object of plain ASCII",
    "bad-sentence": "the sentence lacks its text, or the text is no string that can be written as UTF-8",
    "bad-shape": "the shape lacks points, has too few of them, or its mask cannot be read",
    "contradictory-phrase": "one entry says that the phrase names nothing in the picture, another shows what it names",
    "conversation-skipped": "a conversation of our own export, which COCO has no place for; it is not read back",
    "crowd-ignored": "annotations with iscrowd 1 count neither for nor against what they are called",
    "crowd-only": "the phrase names only crowds (iscrowd 1), which count neither for nor against",
    "duplicate-id": "several entries of the file have the id that is named, and they differ",
    "duplicate-picture": "the picture is listed several times, and its annotations have no phrase but their category",
    "empty-text": "the expression is empty",
    "folder-passed-over": "a link leads to a folder outside of the root; it is read only with --follow-links",
    "image-marker": "the picture's marker stands where no picture can stand, or more than once; it was taken out",
    "image-mismatch": "the reference and its annotation name different images",
    "image-missing": "the image that is named has no entry in the instances file",
    "no-area": "the shape is a point or a line and covers no area",
    "no-phrase": "nothing says in words what the annotation shows",
    "no-picture": "a question points at a picture, and the record names none",
    "not-accepted": "the phrase is new, proposed by a model, or needs work; what is accepted is built",
    "not-exhaustive": "the file says that the phrase names more in the picture than its masks show",
    "no-target": "no region of the record is a target",
    "other-media": "the record is about a film or a sound",
    "picture-renamed": "the picture that the file names is not there, and the one beside the file was taken",
    "path-escape": "the image's path is absolute, leaves the root or is no file name at all",
    "picture-missing": "the picture that belongs to the record is not on disk",
    "reserved-words": "the phrase is one that stands for something else in the format",
    "several-images": "the conversation is about more than one picture",
    "unreadable-file": "the file of this one record cannot be read or is not of the expected format",
    "unused-entry": "the entry belongs to no record or region that is read",
}
"""Code -> one line. The build adds codes of its own for pictures, masks and texts."""


class RecordFault(ValueError):
    """One record that cannot be used. `reason` is a key of REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def unreadable(fault: StampError, path: Path) -> RecordFault:
    """The fault of a file that holds one record only, without its full path: rows are the same wherever the root lies."""
    remedy = f" ({fault.hint})" if fault.hint else ""
    return RecordFault("unreadable-file", fault.message.replace(str(path), path.name) + remedy)
