"""What became of a case: its masks by what was said, and the rejects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data import rle as rles
from stamp_data.shards.reader import Loaded
from stamp_schemas import Reject, StampError

from ..raw import build, read_set

Made = Callable[[str], Path]
LEFT, RIGHT = np.s_[20:90, 20:70], np.s_[30:100, 90:140]
"""The two blocks that every case has, of 3,500 pixels each."""


def built(root: Path, out: Path, dataset: str, **options: Any) -> tuple[dict[str, Any], list[Reject]]:
    """What every expression of a set covers, as (mask, ignored) of 0 and 1, and the rejects."""
    records, rejects = records_of(root, out, dataset, **options)
    return {key: value for loaded in records for key, value in masks(loaded).items()}, rejects


def records_of(root: Path, out: Path, dataset: str, **options: Any) -> tuple[list[Loaded], list[Reject]]:
    (one,) = build(root, out, dataset, **options)
    return read_set(one.folder)


def masks(loaded: Loaded) -> dict[str, Any]:
    found = {}
    for dialogue in loaded.record.dialogues:
        (index,) = dialogue.targets
        target = loaded.record.targets[index]
        ignored = rles.decode(target.ignore_rle) if target.ignore_rle else np.zeros((120, 160), np.uint8)
        assert dialogue.expression not in found
        found[dialogue.expression] = rles.decode(target.rle), ignored
    return found


def blocks(*shown: Any) -> Any:
    mask = np.zeros((120, 160), np.uint8)
    for block in shown:
        mask[block] = 1
    return mask


def refused(root: Path, out: Path, dataset: str, **options: Any) -> StampError:
    with pytest.raises(StampError) as caught:
        build(root, out, dataset, **options)
    assert "\n" not in str(caught.value)
    return caught.value
