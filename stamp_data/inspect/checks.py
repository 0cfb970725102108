"""One function per flag: looks at a record and its statistics and yields what it finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from stamp_data import rle as rles
from stamp_data.inspect.flags import FLAGS, Finding
from stamp_data.inspect.record_stats import NO_TARGET, DialogueStats, RecordStats, normalised
from stamp_data.text import CONTROL_CHARACTER
from stamp_schemas import RLE, Dialogue
from stamp_schemas.record import FULL, IGNORE, SEG

SAME_MASK = 0.5  # IoU below which two masks are different things
WHOLE_PICTURE = 0.95  # share of the picture
LONG_TEXT = 300  # characters
SPECK = 0.05  # covered share of a patch that stands apart
SOLID = 9  # patches a mask needs before a speck beside it is worth a note

_TOKEN = re.compile(r"<\|[^<>|]*\|>")
_ODD_WORD = re.compile(r"[^\W\d_]{19,}|[a-z]{2}[A-Z][a-z]|[a-z]{2}[,.;:!?][a-z]{2}")
_SIDE = re.compile(
    r"^(?:the )?(?P<first>left|right|top|bottom)(?:most)?\b(?! (?:of|to|hand|arm|leg|side))|"
    r"\b(?P<last>left|right|top|bottom)(?:most)?$"
)
_PLACE_WORD = re.compile(
    r"\b(?:(?:left|right|top|bottom)(?:most)?|the|an?|one|on|in|at|to|of|far|very|most|side|picture|image|photo)\b"
)
_EXPLANATION = re.compile(r"^e\d+-p\d+$")  # ReasonSeg: asks the same question once more, for an answer in words
_ARTICLE = re.compile(r"^(?:a|an|the) ")


Found = tuple[str, int, int]
"""(detail, dialogue or -1, target or -1): the arguments of a Finding after its code."""

Check = Callable[[RecordStats], Iterator[Found]]
CHECKS: dict[str, Check] = {}
"""Flag -> what finds it."""


def _raises(code: str) -> Callable[[Check], Check]:
    """The function below finds what `code` stands for."""

    def register(check: Check) -> Check:
        CHECKS[FLAGS[code].code] = check
        return check

    return register


def check(stats: RecordStats) -> list[Finding]:
    """Everything that the record itself shows; what needs other records or pixels is added by `reading`."""
    findings = [Finding(code, *found) for code, look in CHECKS.items() for found in look(stats)]
    return sorted(findings, key=lambda finding: (finding.code, finding.dialogue, finding.target))


@_raises("STP-E002")
def _sizes(stats: RecordStats) -> Iterator[Found]:
    record, labels = stats.record, stats.labels
    image, grid = record.image, record.grid
    if image is None or grid is None:
        if record.targets:
            yield "targets without a picture", -1, -1
        return
    for index, target in enumerate(record.targets):
        for name, rle in (("mask", target.rle), ("ignore mask", target.ignore_rle)):
            if rle is not None and tuple(rle.size) != (image.height, image.width):
                size = f"{rle.size[1]}×{rle.size[0]}"
                yield f"{name} is {size}, the picture {image.width}×{image.height}", -1, index
    if labels is not None and labels.shape != (len(record.targets), grid.height, grid.width):
        yield f"labels are {labels.shape}, the record has {len(record.targets)} × {grid.height}×{grid.width}", -1, -1


@_raises("STP-E003")
def _empty_masks(stats: RecordStats) -> Iterator[Found]:
    for index, target in enumerate(stats.record.targets):
        if not target.area and target.instances:
            yield f"target {target.id} ({', '.join(target.categories[:2])}) covers no pixel", -1, index


@_raises("STP-E004")
def _filled_nothing(stats: RecordStats) -> Iterator[Found]:
    for index, target in enumerate(stats.record.targets):
        if target.area and target.id == NO_TARGET:
            yield f"target {target.id!r} covers {target.area:,} pixels", -1, index


@_raises("STP-E005")
def _bad_texts(stats: RecordStats) -> Iterator[Found]:
    for index, dialogue in enumerate(stats.record.dialogues):
        for name, text in _texts(dialogue):
            if not text.strip():
                yield f"{name} is empty", index, -1
            elif CONTROL_CHARACTER.search(text):
                yield f"{name} holds a control character", index, -1
            elif token := _TOKEN.search(text):
                yield f"{name} holds {token.group()}", index, -1


def _texts(dialogue: Dialogue) -> Iterator[tuple[str, str]]:
    """(what it is, text) of all that must be plain text; the `<|seg|>` of answers are taken out."""
    if dialogue.expressions or dialogue.targets:
        yield from (("expression", text) for text in dialogue.expressions or [""])
    for message in dialogue.messages:
        for content in message.content:
            if content.type == "text":
                text = content.text.replace(SEG, "·") if message.role == "assistant" else content.text
                yield f"{message.role} turn", text


@_raises("STP-E006")
def _unmatched_targets(stats: RecordStats) -> Iterator[Found]:
    known = len(stats.record.targets)
    for index, dialogue in enumerate(stats.record.dialogues):
        for target in dialogue.targets:
            if not 0 <= target < known:
                yield f"refers to target {target} of {known}", index, -1
        masks = stats.dialogues[index].masks
        if masks != len(dialogue.targets):
            yield f"{masks} <|seg|> for {len(dialogue.targets)} targets", index, -1


def _first_passes(stats: RecordStats) -> Iterator[DialogueStats]:
    """Dialogues that ask for masks, without the later passes of the same expression."""
    return (one for one in stats.dialogues if one.twin == one.index and one.kind != "chat")


def _same_text(stats: RecordStats) -> list[list[DialogueStats]]:
    """Dialogues grouped by expression; groups of two or more. An answer in words as well is no repetition."""
    groups: dict[str, list[DialogueStats]] = {}
    for dialogue in _first_passes(stats):
        if not _EXPLANATION.match(stats.record.dialogues[dialogue.index].id):
            groups.setdefault(normalised(dialogue.text), []).append(dialogue)
    return [group for group in groups.values() if len(group) > 1]


@_raises("STP-W001")
def _repeated(stats: RecordStats) -> Iterator[Found]:
    for group in _same_text(stats):
        seen: dict[tuple[str, ...], DialogueStats] = {}
        for dialogue in group:
            masks = tuple(sorted(stats.record.targets[target].rle.counts for target in dialogue.targets))
            first = seen.setdefault(masks, dialogue)
            if first is not dialogue:
                yield f"“{dialogue.text}” as in dialogue {stats.record.dialogues[first.index].id}", dialogue.index, -1


@_raises("STP-W002")
def _ambiguous(stats: RecordStats) -> Iterator[Found]:
    for group in _same_text(stats):
        first = group[0]
        for other in group[1:]:
            if set(other.targets) == set(first.targets):
                continue
            iou = _iou(stats, first, other)
            if iou < SAME_MASK:
                name = stats.record.dialogues[first.index].id
                yield f"“{other.text}” means another mask in dialogue {name} (IoU {iou:.2f})", other.index, -1


def _iou(stats: RecordStats, one: DialogueStats, other: DialogueStats) -> float:
    try:
        return rles.iou(_union(stats, one), _union(stats, other))
    except (ValueError, OverflowError, LookupError):
        return 1.0  # broken masks or targets, which have flags of their own


def _union(stats: RecordStats, dialogue: DialogueStats) -> RLE:
    image = stats.record.image
    if image is None:
        raise ValueError("targets without a picture")
    masks = [stats.record.targets[target].rle for target in dialogue.targets]
    return rles.union([rles.checked(image.height, image.width, mask.size, mask.counts) for mask in masks])


@_raises("STP-W003")
def _vanishing(stats: RecordStats) -> Iterator[Found]:
    for index in _doubtful(stats):
        if not stats.learnt(index)[0]:
            yield f"{stats.record.targets[index].area:,} pixels, no {_label(stats)} half covered", -1, index


@_raises("STP-W004")
def _lossy(stats: RecordStats) -> Iterator[Found]:
    for index in _doubtful(stats):
        cells, iou = stats.learnt(index)
        if cells and iou < SAME_MASK:
            yield f"IoU {iou:.2f} with every {_label(stats)} that is half covered", -1, index


def _doubtful(stats: RecordStats) -> list[int]:
    """Targets that whole patches show badly; only for these are finer labels, where a model has them, looked at."""
    targets = stats.targets if stats.labels is not None else []
    return [index for index, one in enumerate(targets) if one.area and (not one.patches or one.iou < SAME_MASK)]


def _label(stats: RecordStats) -> str:
    return "patch" if stats.side == 1 else f"label ({stats.side}×{stats.side} to a patch)"


@_raises("STP-W005")
def _nearly_all(stats: RecordStats) -> Iterator[Found]:
    for index, target in enumerate(stats.targets):
        if target.area > WHOLE_PICTURE:
            yield f"covers {target.area:.1%} of the picture", -1, index


@_raises("STP-W010")
def _contradictions(stats: RecordStats) -> Iterator[Found]:
    targets = stats.record.targets
    for dialogue in _first_passes(stats):
        match = _SIDE.search(normalised(dialogue.text))
        if dialogue.kind != "single" or len(dialogue.targets) != 1 or match is None:
            continue
        side, own = match["first"] or match["last"], targets[dialogue.targets[0]]
        if _PLACE_WORD.sub("", normalised(dialogue.text)).split() not in (
            [],
            normalised(" ".join(own.categories)).split(),
        ):
            continue  # "leftmost red dog" is compared with red dogs only, and which are red is not known
        peers = [one for one in targets if one.area and len(one.instances) < 2 and one.categories == own.categories]
        axis = 0 if side in ("left", "right") else 1
        places = [one.bbox[axis] + one.bbox[axis + 2] / 2 for one in peers]
        place = own.bbox[axis] + own.bbox[axis + 2] / 2
        opposite = max(places) if side in ("left", "top") else min(places)
        if place == opposite and min(places) != max(places):
            yield f"“{dialogue.text}”, but of {len(peers)} it is the one furthest from the {side}", dialogue.index, -1


@_raises("STP-I001")
def _category_only(stats: RecordStats) -> Iterator[Found]:
    single = [
        one.categories[0] for one in stats.record.targets if one.area and len(one.instances) == 1 and one.categories
    ]
    for dialogue in _first_passes(stats):
        if dialogue.kind != "single" or len(dialogue.targets) != 1:
            continue
        categories = stats.record.targets[dialogue.targets[0]].categories
        if categories and _ARTICLE.sub("", normalised(dialogue.text)) == normalised(categories[0]):
            count = single.count(categories[0])
            if count > 1:
                yield f"“{dialogue.text}”: one of {count}", dialogue.index, -1


@_raises("STP-I002")
def _specks(stats: RecordStats) -> Iterator[Found]:
    if stats.labels is None or stats.labels.ndim != 3:
        return
    touched = (stats.labels > 0) & (stats.labels != IGNORE)
    count, high, wide = touched.shape
    padded = np.zeros((count, high + 2, wide + 2), bool)
    padded[:, 1:-1, 1:-1] = touched
    rows = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    around = rows[:, :, :-2] | rows[:, :, 2:] | padded[:, :high, 1:-1] | padded[:, 2:, 1:-1]
    apart = (touched & ~around & (stats.labels < SPECK * FULL)).sum((1, 2))
    solid = touched.sum((1, 2)) >= SOLID
    for index in np.flatnonzero((apart > 0) & solid).tolist():
        yield f"{apart[index]} of {int(touched[index].sum())} patches (on a {high}×{wide} grid)", -1, index


@_raises("STP-I003")
def _odd_words(stats: RecordStats) -> Iterator[Found]:
    for dialogue in _first_passes(stats):
        if match := _ODD_WORD.search(dialogue.text):
            yield f"“{match.group()}” in “{dialogue.text[:80]}”", dialogue.index, -1


@_raises("STP-I004")
def _long_texts(stats: RecordStats) -> Iterator[Found]:
    for dialogue in _first_passes(stats):
        if len(dialogue.text) > LONG_TEXT:
            yield f"{len(dialogue.text)} characters", dialogue.index, -1
