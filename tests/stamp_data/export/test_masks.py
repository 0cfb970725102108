"""masks: a table that says of every PNG what it shows, and of every picture what it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.shards.reader import ShardSet


def test_rows(mixed: Path, tmp_path: Path) -> None:
    export_sets([mixed], "masks", tmp_path / "out", allow_loss=True)
    folder = tmp_path / "out/tiny"
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    with ShardSet(mixed) as shards:
        records = {loaded.record.key: loaded for loaded in shards}
    for row in rows:
        loaded = records[Path(row["image"]).stem]
        assert (folder / row["image"]).read_bytes() == loaded.image and row["split"] == "train"
        (number,) = {n for talk in loaded.record.dialogues if talk.expression in row["phrase"] for n in talk.targets}
        mask = np.asarray(Image.open(folder / row["mask"])) if row["mask"] else np.zeros(1, np.uint8)
        if row["mask"]:
            assert np.array_equal(mask, 255 * rles.decode(loaded.record.targets[number].rle))
        assert mask.any() == bool(loaded.record.targets[number].area)
    assert {bool(row["mask"]) for row in rows} == {True, False}
    assert {str(path.relative_to(folder)) for path in (folder / "masks").rglob("*.png")} == {
        row["mask"] for row in rows if row["mask"]
    }
