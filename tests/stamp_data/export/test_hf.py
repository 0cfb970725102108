"""hf: one folder that `datasets` opens, and Parquet that anything opens; every byte of a record comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.shards.reader import ShardSet

from ..making import ListSource, build, pictured


class OtherSource(ListSource):
    dataset = "other"


@pytest.fixture(scope="module")
def exported(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    other = build(OtherSource(root / "raw", [pictured(root / "raw", n) for n in range(3)]), root / "out")
    export_sets([mixed, other], "hf", root / "hf")
    return root / "hf"


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library, with its caches in a folder of the test's own and no network."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    library.disable_progress_bars()
    yield library
    library.enable_progress_bars()


def check(rows: Any, folder: Path) -> None:
    with ShardSet(folder) as shards:
        loaded = {one.record.key: (one, shards.member(one.row, "json")) for one in shards}
    assert [row["key"] for row in rows] == list(loaded)
    for row in rows:
        one, member = loaded[row["key"]]
        assert row["record"].encode() == member
        assert row["expressions"] == list(dict.fromkeys(talk.expression for talk in one.record.dialogues))
        if one.labels is None:
            assert row["labels"] is None
        else:
            assert np.array_equal(np.array(row["labels"], np.uint8), one.labels)


def test_datasets_opens_the_folder(datasets: Any, exported: Path, mixed: Path) -> None:
    dataset = datasets.load_dataset(str(exported), "tiny")
    assert list(dataset) == ["train"]
    assert isinstance(dataset["train"].features["image"], datasets.Image)
    check(list(dataset["train"]), mixed)
    raw = dataset["train"].cast_column("image", datasets.Image(decode=False))
    with ShardSet(mixed) as shards:
        for row, loaded in zip(raw, shards, strict=True):
            assert (row["image"]["bytes"] if row["image"] else None) == loaded.image
    for row in dataset["train"]:
        size = json.loads(row["record"])["image"]
        assert (row["image"] is None) == (size is None)
        if size is not None:
            assert isinstance(row["image"], Image.Image)
            assert row["image"].size == (size["width"], size["height"])
    assert datasets.load_dataset(str(exported), "other", split="train").num_rows == 3


def test_the_overlay_shows_the_masks(datasets: Any, exported: Path, mixed: Path) -> None:
    """Inside of a mask it has another colour than the picture, outside the picture's."""
    dataset = datasets.load_dataset(str(exported), "tiny", split="train")
    assert isinstance(dataset.features["overlay"], datasets.Image)
    with ShardSet(mixed) as shards:
        for row, loaded in zip(dataset, shards, strict=True):
            masks = [rles.decode(target.rle) for target in loaded.record.targets if target.area]
            assert (row["overlay"] is None) == (not masks)
            if masks:
                plain, drawn = (np.asarray(row[name].convert("RGB"), int) for name in ("image", "overlay"))
                away = np.abs(plain - drawn).sum(axis=2)
                inside = np.any(masks, axis=0)
                near = np.asarray(Image.fromarray(inside).filter(ImageFilter.MaxFilter(9)))
                assert away[inside].mean() > 60 > 20 > away[~near].mean()


def test_datasets_streams_the_parquet_alone(datasets: Any, exported: Path, mixed: Path) -> None:
    files = {"train": [str(path) for path in sorted((exported / "tiny").iterdir())]}
    rows = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    assert isinstance(rows.features["image"], datasets.Image)
    check(list(rows), mixed)


def test_pyarrow_suffices(exported: Path, mixed: Path) -> None:
    paths = sorted((exported / "tiny").iterdir())
    assert [path.name for path in paths] == [f"train-{n:05d}-of-{len(paths):05d}.parquet" for n in range(len(paths))]
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    check(rows, mixed)
    with ShardSet(mixed) as shards:
        assert [row["image"]["bytes"] if row["image"] else None for row in rows] == [one.image for one in shards]


def test_the_readme_names_sets_and_licences(exported: Path, mixed: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    with ShardSet(mixed) as shards:
        assert f"tiny/train: {len(shards)} records" in text and shards.manifest.digest in text
    assert text.startswith("---\nconfigs:\n") and "CC0-1.0" in text
