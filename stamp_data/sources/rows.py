"""Entries of COCO-style files: decoded into structs, and field by field where they do not fit.

So a size of 120.0 is a size, an entry without an id is an entry, and half a character in one text costs that text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

import msgspec

from stamp_data import numbers
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import decode_row

T = TypeVar("T")
Id = int | str
ABSENT = msgspec.Raw()

TELLING = (
    "noun_phrase", "text_input", "tokens_positive", "obj_ann_id", "phrase", "phrases", "sentence", "sentences", "captions",
    "referring_expression", "referring_expressions", "sent", "sents", "prompt", "query",
)  # fmt: skip
"""Keys by which other formats say what an annotation means; `foreign.py` knows which do."""


class ImageRow(msgspec.Struct, kw_only=True):
    """An entry of `images`; sizes in pixels, None where the file leaves them out or says 0×0, as VIA does."""

    id: Id
    file_name: str
    width: int | None = None
    height: int | None = None


class AnnotationRow(msgspec.Struct, kw_only=True):
    """An entry of `annotations`. The last six are what one's own data may say besides.

    expression, expressions, caption: phrases for it. iscrowd: COCO's crowds. no_target: the phrases name nothing in this
    picture. ignored_by: our own export's; the annotation for whose mask this region counts neither for nor against.
    """

    image_id: Id
    id: Id | None = None
    segmentation: msgspec.Raw = ABSENT
    category_id: Id | None = None
    expression: str | None = None
    expressions: list[str] | None = None
    caption: str | None = None
    iscrowd: int | bool | None = None
    no_target: bool | None = None
    ignored_by: Id | None = None


class RefRow(msgspec.Struct):
    """An entry of `refs`, as our own export writes them: one dialogue, with an annotation per mask, -1 for an empty one.

    dialogue: `<sentence>-p<pass>`.
    """

    image_id: Id | None
    ann_ids: list[Id]
    expression: str
    dialogue: str = ""

    @property
    def sentence(self) -> str:
        """Of which dialogues are drawn, one a pass."""
        return self.dialogue.rpartition("-p")[0]


_Telling = msgspec.defstruct("_Telling", [(key, msgspec.Raw, ABSENT) for key in TELLING])


def read_image(raw: msgspec.Raw) -> ImageRow:
    """An entry of `images`; RecordFault `bad-image`."""
    try:
        row = decode_row(raw, ImageRow, "bad-image")
    except RecordFault as why:
        fields = _fields(raw, why)
        row = ImageRow(id=_id(fields, "id", why), file_name=_value(fields, "file_name", str, why))
        row.width, row.height = (_whole(fields, side, why) for side in ("width", "height"))
    if row.width == row.height == 0:
        row.width = row.height = None
    return row


def read_annotation(raw: msgspec.Raw, unsaid: list[RecordFault], unread: list[RecordFault]) -> AnnotationRow:
    """An entry of `annotations`. RecordFault `bad-annotation` if nobody can know of which picture it is.

    unsaid: takes the faults of its texts. unread: takes those by which its mask cannot be used.
    """
    try:
        return decode_row(raw, AnnotationRow, "bad-annotation")
    except RecordFault as why:
        return _loose_annotation(raw, why, unsaid, unread)


def telling_keys(raw: msgspec.Raw) -> list[str]:
    """The keys of TELLING that an entry has; none if it is no object."""
    try:
        found = decode_row(raw, _Telling, "bad-annotation")
    except RecordFault:
        return []
    return [key for key in TELLING if getattr(found, key) is not ABSENT]


def _loose_annotation(
    raw: msgspec.Raw, why: RecordFault, unsaid: list[RecordFault], unread: list[RecordFault]
) -> AnnotationRow:
    """A row that does not fit, because of `why`, read field by field."""
    fields = _fields(raw, why)
    row = AnnotationRow(image_id=_id(fields, "image_id", why), segmentation=fields.get("segmentation", ABSENT))
    with suppress(RecordFault):  # without a name it is a thing all the same
        row.id = _id(fields, "id", why)
    with suppress(RecordFault):
        row.category_id = _id(fields, "category_id", why)
    try:
        row.iscrowd = _whole(fields, "iscrowd", why)
        if _given(fields, "no_target"):
            row.no_target = _value(fields, "no_target", bool, why)
        if _given(fields, "ignored_by"):
            row.ignored_by = _id(fields, "ignored_by", why)
    except RecordFault as fault:
        unread.append(fault)
    row.expression, row.caption = (_said(fields, key, unsaid) for key in ("expression", "caption"))
    if _given(fields, "expressions"):
        row.expressions = list(_all_said(fields["expressions"], unsaid))
    return row


def _said(fields: dict[str, msgspec.Raw], key: str, unsaid: list[RecordFault]) -> str | None:
    if not _given(fields, key):
        return None
    try:
        return decode_row(fields[key], str, "bad-sentence")
    except RecordFault as fault:
        unsaid.append(RecordFault(fault.reason, f"{key}: {fault.detail}"))
        return None


def _all_said(raw: msgspec.Raw, unsaid: list[RecordFault]) -> Iterator[str]:
    try:
        texts = decode_row(raw, list[msgspec.Raw], "bad-sentence")
    except RecordFault as fault:
        unsaid.append(RecordFault(fault.reason, f"expressions: {fault.detail}"))
        return
    for number, text in enumerate(texts):
        said = _said({f"expressions[{number}]": text}, f"expressions[{number}]", unsaid)
        if said is not None:
            yield said


def _fields(raw: msgspec.Raw, why: RecordFault) -> dict[str, msgspec.Raw]:
    try:
        return decode_row(raw, dict[str, msgspec.Raw], why.reason)
    except RecordFault:
        raise why from None


def _given(fields: dict[str, msgspec.Raw], key: str) -> bool:
    return bytes(fields.get(key, b"null")) != b"null"


def _value(fields: dict[str, msgspec.Raw], key: str, kind: type[T], why: RecordFault) -> T:
    value = decode_row(fields.get(key, msgspec.Raw(b"null")), object, why.reason)
    if not isinstance(value, kind):
        raise why
    return value


def _id(fields: dict[str, msgspec.Raw], key: str, why: RecordFault) -> str:
    value = decode_row(fields.get(key, msgspec.Raw(b"null")), object, why.reason)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise why
    return numbers.name(value)


def _whole(fields: dict[str, msgspec.Raw], key: str, why: RecordFault) -> int | None:
    value = decode_row(fields.get(key, msgspec.Raw(b"null")), object, why.reason)
    try:
        return None if value is None else numbers.whole(value)
    except ValueError as fault:
        raise RecordFault(why.reason, f"{key}: {fault}") from None
