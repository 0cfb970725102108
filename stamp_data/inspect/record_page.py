"""What a page shows of one record: JSON, made once, drawn by the browser."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import ceil
from typing import Any

import numpy as np

from stamp_data.draw.outline import mask_path
from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.record_stats import DialogueStats, RecordStats
from stamp_data.pixels import data_uri
from stamp_data.pixels import thumbnail as decoded
from stamp_data.rle import UInt8, decode_or_empty
from stamp_schemas import RLE, StampError, TargetInfo

View = dict[str, Any]


def record_view(stats: RecordStats, picture: str, fault: str = "") -> View:
    """The view of a record with those of its dialogues that are shown. picture: a data URI or an address; "" for a
    conversation without one, or where it cannot be read (`fault`).
    """
    record, row = stats.record, stats.row
    masks = [_pixels(stats, target.rle) for target in record.targets]
    passes = Counter(dialogue.twin for dialogue in stats.shown)  # of one expression are shown once
    return {
        "key": record.key,
        "set": stats.manifest.name,
        "file": record.image.file_name if record.image else "",
        "width": row.width,
        "height": row.height,
        "grid": (row.grid_height, row.grid_width),
        "picture": picture,
        "fault": fault,
        "targets": [_target_view(stats, index, mask) for index, mask in enumerate(masks)],
        "overlaps": _overlaps(record.targets, masks),
        "dialogues": [_dialogue_view(stats, stats.dialogues[index], count) for index, count in passes.items()],
        "flags": [{"code": one.code, "detail": one.detail, "dialogue": stats.names(one)[0]} for one in stats.findings],
    }


def thumbnail(dataset: ConcatDataset, stats: RecordStats, side: int) -> tuple[str, str]:
    """(JPEG data URI of the picture at `side` pixels or less, what is wrong with it); one of them is ""."""
    try:
        data = dataset.open(dataset.number_of_set(stats.number)).member(stats.row, "image")
        if not data:
            return "", ""
        return data_uri(decoded(data, stats.row.member_name("image"), side)), ""
    except StampError as fault:
        return "", fault.message


def _target_view(stats: RecordStats, index: int, mask: UInt8 | None) -> View:
    """path, ignore: SVG paths in pixels of the picture. area: share of the picture."""
    target, known = stats.record.targets[index], stats.targets[index]
    return {
        "id": target.id,
        "colour": stats.colours[index],
        "area": round(known.area, 6),
        "pixels": target.area,
        "iou": round(known.iou, 4),
        "categories": target.categories,
        "path": _path(mask),
        "ignore": _path(_pixels(stats, target.ignore_rle)),
        "labels": _window(stats.labels[index]) if stats.labels is not None and index < len(stats.labels) else None,
    }


def _pixels(stats: RecordStats, rle: RLE | None) -> UInt8 | None:
    image = stats.record.image
    return decode_or_empty(rle, image.height, image.width) if image and rle else None


def _path(mask: UInt8 | None) -> str:
    return "" if mask is None else mask_path(mask)


def _overlaps(targets: Sequence[TargetInfo], masks: Sequence[UInt8 | None]) -> list[tuple[int, int]]:
    """Pairs of targets that share pixels: compared only within the part that two boxes share, and most share none."""
    found = []
    for one, other in combinations(range(len(targets)), 2):
        first, second = masks[one], masks[other]
        if first is None or second is None:
            continue
        part = _common(targets[one].bbox, targets[other].bbox)
        if part is not None and (first[part] & second[part]).any():
            found.append((one, other))
    return found


def _common(one: Sequence[float], other: Sequence[float]) -> tuple[slice, slice] | None:
    """The part of the picture that lies in two boxes [left, top, width, height], None if there is none."""
    left, top = int(max(one[0], other[0])), int(max(one[1], other[1]))
    right, bottom = ceil(min(one[0] + one[2], other[0] + other[2])), ceil(min(one[1] + one[3], other[1] + other[3]))
    return (slice(max(top, 0), bottom), slice(max(left, 0), right)) if left < right and top < bottom else None


def _window(labels: UInt8) -> View | None:
    """The part of labels [grid height, grid width] that is not 0, base64 of uint8 [height, width]; None if all are 0."""
    rows, columns = np.flatnonzero(labels.any(axis=1)), np.flatnonzero(labels.any(axis=0))
    if not rows.size:
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    data = base64.b64encode(labels[top:bottom, left:right].tobytes()).decode()
    return {"top": top, "left": left, "height": bottom - top, "width": right - left, "data": data}


def _dialogue_view(stats: RecordStats, dialogue: DialogueStats, passes: int) -> View:
    """passes: how many dialogues of the record say the same; turns are those of the first."""
    raw = stats.record.dialogues[dialogue.index]
    turns = []
    for message in raw.messages:
        text = "\n".join(content.text for content in message.content if content.type == "text")
        is_shown = any(content.type == "image" for content in message.content)
        turns.append({"role": message.role, "text": text, "image": is_shown})
    return {
        "id": raw.id,
        "text": dialogue.text,
        "kind": dialogue.kind,
        "targets": [target for target in raw.targets if 0 <= target < len(stats.record.targets)],
        "area": round(dialogue.area, 6),
        "patches": dialogue.patches,
        "iou": round(dialogue.iou, 4),
        "total": round(dialogue.total_tokens, 2),
        "passes": passes,
        "flags": stats.codes(dialogue),
        "turns": turns,
    }
