"""What a page shows of one record: plain data, made once, drawn by the browser."""

from __future__ import annotations

import base64
import io

import msgspec
import numpy as np

from stamp_data.draw.outline import mask_path
from stamp_data.draw.palette import colours
from stamp_data.inspect.corpus import Corpus
from stamp_data.inspect.facts import DialogueFacts, Facts
from stamp_data.inspect.select import Pick
from stamp_data.pixels import thumbnail as decoded
from stamp_data.rle import UInt8, decode_or_empty
from stamp_schemas import StampError, TargetInfo

JPEG_QUALITY = 80


class Window(msgspec.Struct):
    """The part of a label grid that is not 0. data: base64 of uint8 [height, width]."""

    top: int
    left: int
    height: int
    width: int
    data: str


class TargetView(msgspec.Struct):
    """path, ignore: SVG paths in pixels of the picture. area: share of the picture."""

    id: str
    colour: str
    area: float
    pixels: int
    patches: int
    iou: float
    categories: list[str]
    path: str
    ignore: str
    labels: Window | None


class TurnView(msgspec.Struct):
    role: str
    text: str
    image: bool


class DialogueView(msgspec.Struct):
    """passes: how many dialogues of the record say the same; turns are those of the first."""

    id: str
    text: str
    kind: str
    targets: list[int]
    area: float
    patches: int
    iou: float
    chars: int
    tokens: float
    total: float
    passes: int
    flags: list[str]
    turns: list[TurnView]


class FindingView(msgspec.Struct):
    code: str
    detail: str
    dialogue: str
    target: str


class RecordView(msgspec.Struct):
    """picture: a data URI or an address; "" for a conversation without one, or where it cannot be read (`fault`)."""

    key: str
    set: str
    source: str
    split: str
    file: str
    width: int
    height: int
    grid: tuple[int, int]
    tokens: int
    picture: str
    fault: str
    targets: list[TargetView]
    dialogues: list[DialogueView]
    flags: list[FindingView]


def record_view(pick: Pick, picture: str, fault: str = "") -> RecordView:
    """The view of a record with those of its dialogues that were picked. picture: address or data URI of it, or ""."""
    facts, record, row = pick.facts, pick.facts.record, pick.facts.row
    shades = colours([target.id for target in record.targets])
    settings = facts.manifest.settings
    return RecordView(
        key=record.key,
        set=facts.manifest.name,
        source=settings.dataset,
        split=settings.split,
        file=record.image.file_name if record.image else "",
        width=row.width,
        height=row.height,
        grid=(row.grid_height, row.grid_width),
        tokens=row.image_tokens,
        picture=picture,
        fault=fault,
        targets=[_target_view(facts, index, colour) for index, colour in enumerate(shades)],
        dialogues=_dialogue_views(facts, pick.dialogues),
        flags=[_finding_view(facts, number) for number in range(len(facts.findings))],
    )


def thumbnail(corpus: Corpus, facts: Facts, side: int) -> tuple[str, str]:
    """(JPEG data URI of the picture at `side` pixels or less, what is wrong with it); one of them is ""."""
    try:
        data = corpus.open(corpus.number_of_set(facts.number)).member(facts.row, "image")
        if not data:
            return "", ""
        picture = decoded(data, facts.row.member_name("image"), side)
    except StampError as fault:
        return "", fault.message
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), ""


def _target_view(facts: Facts, index: int, colour: str) -> TargetView:
    target, known = facts.record.targets[index], facts.targets[index]
    return TargetView(
        id=target.id,
        colour=colour,
        area=round(known.area, 6),
        pixels=target.area,
        patches=known.patches,
        iou=round(known.iou, 4),
        categories=target.categories,
        path=_path(facts, target, ignored=False),
        ignore=_path(facts, target, ignored=True),
        labels=_window(facts.labels[index]) if facts.labels is not None and index < len(facts.labels) else None,
    )


def _path(facts: Facts, target: TargetInfo, *, ignored: bool) -> str:
    image, rle = facts.record.image, target.ignore_rle if ignored else target.rle
    return mask_path(decode_or_empty(rle, image.height, image.width)) if image and rle else ""


def _window(labels: UInt8) -> Window | None:
    """labels: [grid height, grid width]. None if all are 0."""
    rows, columns = np.flatnonzero(labels.any(axis=1)), np.flatnonzero(labels.any(axis=0))
    if not rows.size:
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    part = np.ascontiguousarray(labels[top:bottom, left:right])
    return Window(top, left, bottom - top, right - left, base64.b64encode(part.tobytes()).decode())


def _dialogue_views(facts: Facts, dialogues: list[DialogueFacts]) -> list[DialogueView]:
    """Passes of one expression are shown once."""
    passes: dict[int, int] = {}
    for dialogue in dialogues:
        passes[dialogue.twin] = passes.get(dialogue.twin, 0) + 1
    return [_dialogue_view(facts, facts.dialogues[index], count) for index, count in passes.items()]


def _dialogue_view(facts: Facts, dialogue: DialogueFacts, passes: int) -> DialogueView:
    raw = facts.record.dialogues[dialogue.index]
    turns = []
    for message in raw.messages:
        text = "\n".join(content.text for content in message.content if content.type == "text")
        turns.append(TurnView(message.role, text, any(content.type == "image" for content in message.content)))
    return DialogueView(
        id=raw.id,
        text=dialogue.text,
        kind=dialogue.kind,
        targets=[target for target in raw.targets if 0 <= target < len(facts.record.targets)],
        area=round(dialogue.area, 6),
        patches=dialogue.patches,
        iou=round(dialogue.iou, 4),
        chars=dialogue.chars,
        tokens=round(dialogue.text_tokens, 2),
        total=round(dialogue.total_tokens, 2),
        passes=passes,
        flags=facts.codes(dialogue),
        turns=turns,
    )


def _finding_view(facts: Facts, number: int) -> FindingView:
    finding = facts.findings[number]
    dialogue = facts.record.dialogues[finding.dialogue].id if finding.dialogue >= 0 else ""
    target = facts.record.targets[finding.target].id if finding.target >= 0 else ""
    return FindingView(finding.code, finding.detail, dialogue, target)
