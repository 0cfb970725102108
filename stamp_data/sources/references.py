"""References of the REFER family, pickled or JSON, brought into one shape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.pickles import text_of
from stamp_schemas import StampError

USUAL_ORDER = ("train", "val", "test", "testA", "testB", "testC")
NO_TARGET = "-1"
_SEVERAL = re.compile(r"test([A-C](?:(?:, ?)?(?:test)?[A-C])+)", re.ASCII)
_TEXTS, _LISTS = (str, bytes), (list, tuple)  # a union would be made anew with every look
NAME_LIMIT = 200  # characters of an id or a split's name


class Sentence(msgspec.Struct, gc=False):
    """One expression as stored. id: as text."""

    id: str
    text: str


class Reference(msgspec.Struct):
    """One reference: what it points at, in which split, and how that is said. All ids as text."""

    id: str
    image_id: str
    annotation_ids: list[str]
    sentences: list[Sentence]


@dataclass
class References:
    """All references of a file by split; `broken` are those whose split is not even known."""

    splits: dict[str, list[Reference]] = field(default_factory=dict)
    faults: dict[str, RejectLog] = field(default_factory=dict)
    broken: RejectLog = field(default_factory=RejectLog)

    def ordered(self) -> list[str]:
        """Names of the splits that hold references, the usual ones first."""
        rest = sorted(name for name in self.splits if name not in USUAL_ORDER)
        return [name for name in USUAL_ORDER if name in self.splits] + rest

    def wanted(self) -> tuple[set[str], set[str]]:
        """Ids of all images and annotations that are referred to."""
        refs = [ref for split in self.splits.values() for ref in split]
        return {ref.image_id for ref in refs}, {name for ref in refs for name in ref.annotation_ids}


def collect(rows: Iterable[object], file: str, *, several: bool, limit: int) -> References:
    """Sort raw references into splits. A row may be the RecordFault that came in its place.

    file: how reject rows call it. several: a reference may name any number of annotations, also none; else exactly one.
    limit: expressions and annotation ids that there can be; StampError beyond it, since in a pickle one long list may stand
    in a million places.
    """
    found = References()
    total, log = 0, RejectLog()
    for position, row in enumerate(rows):
        total += _length(row, "sentences") + _length(row, "ann_id")
        if total > limit:
            raise StampError(
                f"{file}: the same expressions over and over, more than it has bytes", "it is made to do harm"
            )
        try:
            fields = _object(row)
            split = _name(_get(fields, "split"), "split")
        except RecordFault as fault:
            found.broken.add(
                file, f"refs[{position}]", fault.reason, fault.detail, expressions=_length(row, "sentences")
            )
            continue
        kept = []
        try:
            kept.append(_reference(fields, position, file, log, several))
        except RecordFault as fault:
            log.add(file, f"refs[{position}]", fault.reason, fault.detail, expressions=_length(row, "sentences"))
        for name in splits_of(split):
            found.splits.setdefault(name, []).extend(kept)
            if log.rows:
                found.faults.setdefault(name, RejectLog()).rows.extend(log.rows)
        log.rows.clear()
    return found


@lru_cache(maxsize=64)
def splits_of(name: str) -> tuple[str, ...]:
    """The splits that a reference of split `name` counts for, as REFER counts them: `testA,B` and `testAB` are two."""
    letters = _SEVERAL.fullmatch(name)
    return tuple(f"test{letter}" for letter in sorted(set(letters[1]) & set("ABC"))) if letters else (name,)


def _object(row: object) -> dict[object, object]:
    if isinstance(row, RecordFault):
        raise row
    if not isinstance(row, dict):
        raise RecordFault("bad-reference", f"a reference is an object, not {type(row).__name__}")
    return row


def _get(fields: dict[object, object], key: str, default: object = None) -> object:
    """The value of a key, which Python 2 may have written as bytes."""
    return fields[key] if key in fields else fields.get(key.encode(), default)


def _name(value: object, what: str) -> str:
    """An id or a name as text; RecordFault if it is neither number nor short text."""
    if type(value) is int:  # as most are, of which there are half a million
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return numbers.name(value)
    if isinstance(value, _TEXTS):
        text = text_of(value)
        if 0 < len(text) <= NAME_LIMIT and text.isprintable():
            return text
    raise RecordFault("bad-reference", f"{what} is missing" if value is None else f"{what} is no usable name")


def _reference(fields: dict[object, object], position: int, file: str, log: RejectLog, several: bool) -> Reference:
    identity = _name(_get(fields, "ref_id", position), "ref_id")
    image_id = _name(_get(fields, "image_id"), "image_id")
    annotation_ids = _annotation_ids(fields, several)
    sentences = _get(fields, "sentences")
    if not isinstance(sentences, _LISTS) or not sentences:
        raise RecordFault("bad-reference", "sentences are missing")
    kept = []
    for number, sentence in enumerate(sentences):
        try:
            kept.append(_sentence(sentence, f"{identity}.{number}"))
        except RecordFault as fault:
            log.add(file, f"ref {identity} sentence {number}", fault.reason, fault.detail, expressions=1)
    return Reference(identity, image_id, annotation_ids, kept)


def _annotation_ids(fields: dict[object, object], several: bool) -> list[str]:
    """The distinct ids that a reference names; [] where it says that nothing is meant."""
    value = _get(fields, "ann_id")
    names = [_name(one, "ann_id") for one in (value if isinstance(value, _LISTS) else [value])]
    if not several:
        if len(names) != 1:
            raise RecordFault("bad-reference", f"{len(names)} annotations where one is meant")
        return names
    no_target = _get(fields, "no_target")
    if names == [NO_TARGET] or (not names and no_target is True):
        return []
    if not names or no_target is True:
        raise RecordFault("bad-reference", f"no_target is {no_target} with {len(names)} annotations")
    return list(dict.fromkeys(names))


def _sentence(sentence: object, default_id: str) -> Sentence:
    try:
        fields = _object(sentence)
        identity = _name(_get(fields, "sent_id", default_id), "sent_id")
    except RecordFault as fault:
        raise RecordFault("bad-sentence", fault.detail) from None
    text = _get(fields, "sent")
    if not isinstance(text, _TEXTS):
        raise RecordFault("bad-sentence", "sent is missing" if text is None else f"sent is {type(text).__name__}")
    return Sentence(identity, checked_text(text_of(text)))


def checked_text(text: str) -> str:
    """The text as it is; RecordFault if it is blank or holds lone surrogates, which no file can store."""
    if not text or text.isspace():
        raise RecordFault("empty-text", "the expression is empty")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as fault:
            raise RecordFault("bad-sentence", f"no text: lone surrogate at character {fault.start}") from None
    return text


def _length(row: object, key: str) -> int:
    value = _get(row, key) if isinstance(row, dict) else None
    return len(value) if isinstance(value, _LISTS) else 0
