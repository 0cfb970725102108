"""Small sets in the layouts of other tools, built, and their masks held against other rasterisers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask

from stamp_schemas import Reject, StampError

from ...raw import FAST, build, picture, read_set

WIDTH, HEIGHT = 64, 48
CORNERS = [(8.0, 8.0), (40.0, 8.0), (40.0, 32.0), (8.0, 32.0)]
TRIANGLE = [(30.5, 4.25), (60.0, 40.0), (12.75, 33.5)]
Mask = npt.NDArray[np.bool_]


def put(root: Path, *names: str, size: tuple[int, int] = (WIDTH, HEIGHT), **save: Any) -> None:
    """Plain pictures at these places."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(size, form="PNG" if name.endswith(".png") else "JPEG", **save))


def polygon_mask(*outlines: Sequence[tuple[float, float]], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Mask:
    """The union of polygons as pycocotools draws it, which is what our masks of polygons are held to be."""
    flat = [[value for point in outline for value in point] for outline in outlines]
    rle = coco_mask.merge(coco_mask.frPyObjects(flat, size[1], size[0]))
    return np.asarray(coco_mask.decode(rle), dtype=np.bool_)


class Said:
    """What a build made of a set: by split, picture and phrase, the masks asked for; and the reject rows."""

    def __init__(self, root: Path, out: Path, name: str, **options: Any) -> None:
        self.masks: dict[tuple[str, str, str], list[Mask]] = {}
        self.records: dict[str, int] = {}
        self.rows: list[Reject] = []
        for built in build(root, out, name, **FAST | options):
            split = built.manifest.settings.split
            records, rows = read_set(built.folder)
            self.records[split] = len(records)
            self.rows += rows
            for loaded in records:
                record = loaded.record
                assert record.image is not None, "all of them have pictures"
                for dialogue in record.dialogues:
                    masks = [_decoded(record.targets[place].rle) for place in dialogue.targets]
                    self.masks[split, record.image.file_name, dialogue.expression] = masks

    def mask(self, phrase: str, name: str = "", split: str = "") -> Mask:
        """The one mask of a phrase, of the only picture that has it if none is named."""
        found = [
            masks for key, masks in self.masks.items()
            if key[2] == phrase and key[1].startswith(name) and key[0].startswith(split)
        ]  # fmt: skip
        assert len(found) == 1, f"{phrase!r} is said of {len(found)} pictures: {list(self.masks)}"
        assert len(found[0]) == 1
        return found[0][0]

    @property
    def phrases(self) -> list[str]:
        return sorted(phrase for _, _, phrase in self.masks)

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """(record, reason) of every row, sorted."""
        return sorted((row.record, row.reason) for row in self.rows)


@contextmanager
def refused(match: str) -> Iterator[None]:
    """A fault of the set as a whole: one line, with a way out."""
    with pytest.raises(StampError, match=match) as caught:
        yield
    assert "\n" not in str(caught.value) and caught.value.hint


def _decoded(rle: Any) -> Mask:
    return np.asarray(coco_mask.decode({"size": list(rle.size), "counts": rle.counts.encode()}), dtype=np.bool_)
