"""Predictions as files: read back with other tools, gone on with, and never over what is not ours."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from stamp_schemas import StampError, UsageFault
from stamp_train.predict import Segmentation, Segmenter
from stamp_train.predict.inputs import Asked
from stamp_train.predict.writing import PredictionFolder, file_name

from .talking import SEG, scene, talking_generator

SETTINGS = {"checkpoint": "a", "seed": 0}


@pytest.fixture(scope="module")
def answer() -> Segmentation:
    """Two masks."""
    return Segmenter(talking_generator()).segment(scene(), "x", begin=f"{SEG} and {SEG}", max_new_tokens=0)


def asked(name: str, image: str, prompt: str) -> Asked:
    return Asked(name, Path(image), image, prompt)


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_other_tools_read_the_masks(tmp_path: Path, answer: Segmentation) -> None:
    PredictionFolder(tmp_path / "out", SETTINGS).add(asked("dog-1", "dog.png", "x"), answer)
    (row,) = rows(tmp_path / "out")
    assert {key: row[key] for key in ("id", "image", "prompt", "content", "finish", "forced", "width", "height")} == {
        "id": "dog-1",
        "image": "dog.png",
        "prompt": "x",
        "content": f"{SEG} and {SEG}",
        "finish": "length",
        "forced": False,
        "width": 112,
        "height": 84,
    }
    assert [mask["file"] for mask in row["masks"]] == ["masks/dog-1-1.png", "masks/dog-1-2.png"]
    for saved, mask in zip(row["masks"], answer.masks, strict=True):
        with Image.open(tmp_path / "out" / saved["file"]) as png:
            assert png.mode == "L" and np.array_equal(np.asarray(png), np.where(mask, 255, 0))
        assert np.array_equal(coco.decode({**saved["rle"], "counts": saved["rle"]["counts"].encode()}), mask)
        ys, xs = np.nonzero(mask)
        assert saved["area"] == len(ys)
        assert saved["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    with Image.open(tmp_path / "out" / row["overlay"]) as overlay:
        assert overlay.size == (112, 84)


def test_an_answer_without_masks_has_a_row_alone(tmp_path: Path, answer: Segmentation) -> None:
    plain = replace(answer, masks=(), probabilities=(), logits=())
    row = PredictionFolder(tmp_path, SETTINGS).add(asked("a", "dog.png", "x"), plain)
    assert row.masks == [] and row.overlay is None
    assert not list((tmp_path / "overlays").iterdir())


def test_nothing_changes_before_the_first_row(tmp_path: Path, answer: Segmentation) -> None:
    PredictionFolder(tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()
    PredictionFolder(tmp_path / "out", SETTINGS).add(asked("a", "dog.png", "x"), answer)
    PredictionFolder(tmp_path / "out", {"other": 1}, overwrite=True)
    assert [row["id"] for row in rows(tmp_path / "out")] == ["a"]


def test_going_on_after_a_kill(tmp_path: Path, answer: Segmentation) -> None:
    PredictionFolder(tmp_path, SETTINGS).add(asked("a", "dog.png", "x"), answer)
    with (tmp_path / "predictions.jsonl").open("ab") as file:
        file.write(b'{"id": "b", "im')
    folder = PredictionFolder(tmp_path, SETTINGS)
    assert folder.found(asked("a", "dog.png", "x")).id == "a"
    assert folder.found(asked("b", "dog.png", "x")) is None
    folder.add(asked("b", "dog.png", "y"), answer)
    assert [row["id"] for row in rows(tmp_path)] == ["a", "b"]
    assert (tmp_path / "masks" / "a-1.png").is_file()
    fault = folder.found(asked("b", "cat.png", "y"))
    assert isinstance(fault, StampError) and "id 'b' of another request" in str(fault)


def test_other_settings_are_refused_or_begin_anew(tmp_path: Path, answer: Segmentation) -> None:
    PredictionFolder(tmp_path, SETTINGS).add(asked("a", "dog.png", "x"), answer)
    with pytest.raises(UsageFault, match=r"other settings \(seed\)"):
        PredictionFolder(tmp_path, {**SETTINGS, "seed": 1})
    PredictionFolder(tmp_path, {**SETTINGS, "seed": 1}, overwrite=True).add(asked("b", "dog.png", "x"), answer)
    assert [row["id"] for row in rows(tmp_path)] == ["b"]
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"b-1.png", "b-2.png"}


@pytest.mark.parametrize("name", ["masks", "overlays", "predictions.jsonl"])
def test_files_of_others_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for overwrite in (False, True):
        with pytest.raises(UsageFault, match=f"{name} is there already"):
            PredictionFolder(tmp_path, SETTINGS, overwrite=overwrite)


def test_damaged_rows_are_told(tmp_path: Path, answer: Segmentation) -> None:
    PredictionFolder(tmp_path, SETTINGS).add(asked("a", "dog.png", "x"), answer)
    (tmp_path / "predictions.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(UsageFault, match="damaged"):
        PredictionFolder(tmp_path, SETTINGS)


def test_a_folder_that_cannot_be_made(tmp_path: Path, answer: Segmentation) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageFault, match="cannot be written to"):
        PredictionFolder(tmp_path / "file" / "out", SETTINGS).add(asked("a", "dog.png", "x"), answer)


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", ".hidden", "", "a/b", "ü", "a" * 300, "\ud800", "CON\n"])
def test_names_of_files_are_harmless(name: str) -> None:
    found = file_name(name)
    assert found != name and len(found) < 101 and not found.startswith((".", "-"))
    assert all(c.isascii() and (c.isalnum() or c in "._-") for c in found)
    assert file_name("dog-1") == "dog-1" and file_name("a/b") != file_name("a_b")
