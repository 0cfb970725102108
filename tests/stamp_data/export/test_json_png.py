"""json-png: every dialogue an item, every mask a file, readable with nothing but json and Pillow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.shards.reader import Loaded, ShardSet


@pytest.fixture(scope="module")
def exported(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    export_sets([mixed], "json-png", out, allow_loss=True)
    return out


@pytest.fixture(scope="module")
def items(exported: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((exported / "tiny" / "train.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def records(mixed: Path) -> dict[str, Loaded]:
    with ShardSet(mixed) as shards:
        return {loaded.record.key: loaded for loaded in shards}


def test_one_item_per_dialogue(items: list[dict[str, Any]], records: dict[str, Loaded]) -> None:
    expected = [f"{key}/{talk.id}" for key, loaded in records.items() for talk in loaded.record.dialogues]
    assert [item["id"] for item in items] == expected
    for item in items:
        record = records[item["id"].partition("/")[0]].record
        dialogue = next(talk for talk in record.dialogues if item["id"].endswith(f"/{talk.id}"))
        assert item["messages"] == msgspec.to_builtins(dialogue.messages)
        assert item["expression"] == dialogue.expression
        if len(dialogue.messages) == 2:
            assert item["question"] == dialogue.messages[0].content[-1].text
            assert item["answer"] == dialogue.messages[1].content[0].text
        else:
            assert "question" not in item


def test_pictures_are_the_original_bytes(
    exported: Path, items: list[dict[str, Any]], records: dict[str, Loaded]
) -> None:
    for item in items:
        loaded = records[item["id"].partition("/")[0]]
        assert len(item["images"]) == (loaded.image is not None)
        for path in item["images"]:
            assert (exported / path).read_bytes() == loaded.image


def test_masks_are_equal_one_per_seg_at_full_size(
    exported: Path, items: list[dict[str, Any]], records: dict[str, Loaded]
) -> None:
    for item in items:
        record = records[item["id"].partition("/")[0]].record
        dialogue = next(talk for talk in record.dialogues if item["id"].endswith(f"/{talk.id}"))
        assert len(item["masks"]) == len(dialogue.targets) == item.get("answer", "").count("<|seg|>")
        for path, index in zip(item["masks"], dialogue.targets, strict=True):
            with Image.open(exported / path) as image:
                pixels = np.asarray(image)
            assert image.mode == "L" and set(np.unique(pixels)) <= {0, 255}
            assert np.array_equal(pixels == 255, rles.decode(record.targets[index].rle) == 1)
    files = list((exported / "tiny" / "train" / "masks").iterdir())
    assert len(files) == sum(len(loaded.record.targets) for loaded in records.values())
