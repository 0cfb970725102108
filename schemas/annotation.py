"""What a source hands to the build: one picture with everything that is said about it in one split.

Every `where` names a raw record for rejects.jsonl: the file, relative to the dataset root, and the record in it, for example
`("refer_seg/refcoco/instances.json", "annotation 1719310")`.

Sources only read and regroup. Masks stay as the raw file has them (`Region.segmentation` is undecoded JSON), so that the
process that plans a build never pays for geometry; the worker that renders the record does.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Where = tuple[str, str]
Role = Literal["target", "ignore"]

Form = Literal["phrase", "question", "description", "explanation"]
"""How a request's text is meant, hence which templates may carry it.

phrase: a referring expression of the REFER families. question: a whole question or instruction (ReasonSeg).
description: a ReasonSeg phrase. explanation: a question whose answer in words is known (`Request.answer`).
"""


Frame = Literal["stored", "upright", "unsure"]
"""Which picture an annotation means where EXIF asks for turning it: a property of the format.

stored: the pixels as the file has them (COCO and all that is made of it). upright: what people see (labelme, ReasonSeg).
unsure: as stored, but tools that write this format differ, so that it has to be told.
"""


class ImageRef(msgspec.Struct, omit_defaults=True):
    """Where the picture lies.

    path: relative to the root, as the annotation file names it; checked against escapes when it is opened.
    width, height: pixels as the annotation claims them, or None where the format does not say.
    root: which of the folders that pictures may lie in, 0 being the dataset's root (`stamp_data.sources.finding`).
    embedded: the annotation file that holds the picture itself, relative to the root; "" if it is a file of its own.
    row: of an `embedded` Parquet file, the one that holds the picture; -1 where it is another file.
    rivals: paths that fit `path` equally well where nothing fits it better, so that none of them is taken.
    """

    path: str
    width: int | None = None
    height: int | None = None
    frame: Frame = "stored"
    root: int = 0
    embedded: str = ""
    row: int = -1
    rivals: list[str] = []


class Region(msgspec.Struct, omit_defaults=True):
    """One painted area of a target.

    segmentation: JSON of COCO polygons `[[x, y, …], …]` or of an RLE `{"size": [h, w], "counts": …}`.
    """

    segmentation: msgspec.Raw
    where: Where
    role: Role = "target"


class Target(msgspec.Struct, omit_defaults=True):
    """One mask: the union of its regions; no region means an empty mask by intent (a no-target expression).

    All its regions stand in one file.
    """

    id: str
    regions: list[Region] = []
    instances: list[str] = []
    categories: list[str] = []


class Request(msgspec.Struct, omit_defaults=True):
    """One expression that asks for masks; becomes one dialogue per pass.

    targets: indices into `Annotation.targets`, one per `<|seg|>` of the answer.
    """

    id: str
    text: str
    targets: list[int]
    where: Where
    form: Form = "phrase"
    answer: str = ""


class Turn(msgspec.Struct):
    """One turn of a ready-made conversation. `has_image` says that the picture stands in this turn."""

    role: Literal["system", "user", "assistant"]
    text: str
    has_image: Literal["", "before", "after"] = ""


class Exchange(msgspec.Struct):
    """One turn of a written dialogue. answer: pieces of text and, where a mask stands, the index of its target."""

    question: str
    answer: list[str | int]


class Written(msgspec.Struct):
    """A dialogue about the picture that somebody wrote; becomes one dialogue per pass, in these words."""

    id: str
    turns: list[Exchange]
    where: Where

    @property
    def targets(self) -> list[int]:
        """One per `<|seg|>` of its answers, as `Request.targets`."""
        return [piece for turn in self.turns for piece in turn.answer if isinstance(piece, int)]


class Annotation(msgspec.Struct, omit_defaults=True):
    """One record to be: a picture (or none), its targets, and either requests and dialogues or one ready-made conversation.

    others: what else is known to be in the picture, as one target each, without regions where those cannot be used. Given only
    where it is asked for (`Reading.others`).
    """

    id: str
    where: Where
    image: ImageRef | None = None
    targets: list[Target] = []
    requests: list[Request] = []
    conversation: list[Turn] = []
    others: list[Target] = []
    dialogues: list[Written] = []

    @property
    def expressions(self) -> int:
        """How many expressions (or conversations) would be lost with this record."""
        return len(self.requests) + len(self.dialogues) or int(bool(self.conversation))
