"""`stamp-train predict` and `export` as people and programs call them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stamp_train.backbones.presets import build_preset

from ..stamp_train.predict.tiny_sam import official_file, tiny_sam
from ..warm import warm

SEG = "<|seg|>"


def stamp(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `stamp-train` in a folder as a process of its own."""
    return warm.run("stamp-train", *arguments, cwd=folder, environment={**os.environ, "COLUMNS": "100"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint (random weights, which never say `<|seg|>`), two pictures, something broken, and a list."""
    folder = tmp_path_factory.mktemp("predict")
    model, processor = build_preset("tiny")
    model.save_pretrained(folder / "checkpoint")
    processor.save_pretrained(folder / "checkpoint")
    (folder / "photos").mkdir()
    for name, size in {"dog.png": (112, 84), "cat.jpg": (60, 90)}.items():
        picture = Image.new("RGB", size, (90, 140, 90))
        ImageDraw.Draw(picture).ellipse((10, 15, 50, 60), fill=(210, 60, 40))
        picture.save(folder / "photos" / name)
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    rows = [
        {"image": "photos/dog.png", "text": "What is this?", "id": "what"},
        {"image": "../outside.png", "text": "x"},
        {"image": "photos/cat.jpg", "expression": "red disk", "id": "disk"},
        {"image": "photos/dog.png", "expression": "red \x1b[31mdisk", "id": "../up"},
    ]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def forced(place: Path) -> subprocess.CompletedProcess[str]:
    return stamp(
        place, "predict", "checkpoint", "list.jsonl", "photos/broken.jpg", "-t", "What?", "--force-mask",
        "--max-new-tokens", 3, "-o", "forced",
    )  # fmt: skip


def test_a_list_is_answered_with_masks_rows_and_overlays(place: Path, forced: subprocess.CompletedProcess[str]) -> None:
    rows = {
        row["id"]: row
        for row in map(json.loads, (place / "forced" / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    }
    assert set(rows) == {"what", "disk", "../up"}
    for row in rows.values():
        assert row["forced"] and row["content"].endswith(SEG) and len(row["masks"]) == 1
        with (
            Image.open(place / row["image"]) as picture,
            Image.open(place / "forced" / row["masks"][0]["file"]) as mask,
        ):
            assert mask.size == picture.size == (row["width"], row["height"])
            assert set(np.unique(np.asarray(mask))) <= {0, 255}
        with Image.open(place / "forced" / row["overlay"]) as overlay:
            assert overlay.size == (row["width"], row["height"])
    assert rows["disk"]["prompt"] == "Please segment only the red disk in the image."
    assert {path.parent for path in (place / "forced").rglob("*.png")} == {place / "forced" / "masks"}
    assert f"{rows['disk']['masks'][0]['area']:,} of 5,400 pixels" in forced.stdout


def test_each_fault_is_one_line_and_the_rest_is_done(forced: subprocess.CompletedProcess[str]) -> None:
    assert forced.returncode == 1
    faults = [line for line in forced.stderr.splitlines() if line.startswith("error: ")]
    assert len(faults) == 2
    assert "list.jsonl:2: '../outside.png' leads out of the root" in faults[0]
    assert "photos/broken.jpg: " in faults[1]
    assert "3 answers, 3 masks, 2 faults" in forced.stderr.splitlines()[-1]
    assert "Traceback" not in forced.stderr
    assert "\x1b" not in forced.stdout + forced.stderr


def test_no_mask_is_said_and_no_fault(place: Path) -> None:
    arguments = [
        "predict",
        "checkpoint",
        "photos/dog.png",
        "-e",
        "disk",
        "--max-new-tokens",
        3,
        "-o",
        "plain",
        "--json",
    ]
    done = stamp(place, *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == [] and [row["masks"] for row in found["predictions"]] == [[]]
    assert f"photos/dog.png: no {SEG} in the answer, so no mask; --force-mask draws one" in done.stderr
    times = {path: path.stat().st_mtime_ns for path in (place / "plain").rglob("*")}
    again = stamp(place, *arguments)
    assert json.loads(again.stdout) == found
    assert times == {path: path.stat().st_mtime_ns for path in (place / "plain").rglob("*")}
    other = stamp(place, *arguments, "--force-mask")
    assert other.returncode == 2 and "other settings (force_mask)" in other.stderr and other.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere", "photos/dog.png", "-t", "x"], 2, "nowhere: no such checkpoint folder"),
        (["photos", "photos/dog.png", "-t", "x"], 2, "photos: holds no model"),
        (["checkpoint", "photos/dog.png"], 2, "nothing is asked"),
        (["checkpoint", "photos/dog.png", "-t", "x", "--upsampling", "cubic"], 2, "cubic"),
        (["checkpoint", "gone.png", "-t", "x"], 2, "gone.png: no such file"),
    ],
)
def test_wrong_calls(place: Path, arguments: list[str], code: int, message: str) -> None:
    done = stamp(place, "predict", *arguments, "-o", "wrong")
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (place / "wrong").exists()


def test_export(place: Path) -> None:
    done = stamp(place, "export", "checkpoint", "model", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"checkpoint": "checkpoint", "out": "model"}
    assert (place / "model" / "README.md").read_text(encoding="utf-8").count("# model\n") == 1
    again = stamp(place, "export", "checkpoint", "model")
    assert again.returncode == 2 and "--overwrite" in again.stderr


def test_a_refiner_is_there_or_the_call_is_wrong(place: Path) -> None:
    """A row says whether it was refined, and one that was not is done again once there is a refiner."""
    call = ("predict", "checkpoint", "photos/dog.png", "-t", "What?", "--force-mask", "--max-new-tokens", 2)

    def row() -> dict[str, Any]:
        (found,) = map(json.loads, (place / "refining/predictions.jsonl").read_text(encoding="utf-8").splitlines())
        return dict(found)

    refused = stamp(place, *call, "-o", "refining", "--refine", "sam:sam.pth")
    assert refused.returncode == 2 and not (place / "refining").exists()
    assert refused.stderr.startswith("error: --refine sam:sam.pth: ") and "--refine-optional" in refused.stderr
    done = stamp(place, *call, "-o", "refining", "--refine", "sam:sam.pth", "--refine-optional")
    assert done.returncode == 0 and "masks stay unrefined" in done.stderr and row()["refined"] is False
    weights = official_file(tiny_sam(), place / "sam.pth")
    before = (place / "refining/predictions.jsonl").stat().st_mtime_ns
    again = stamp(place, *call, "-o", "refining", "--refine", "sam:sam.pth")
    assert again.returncode == 0, again.stderr
    assert row()["refined"] is True
    assert (place / "refining/predictions.jsonl").stat().st_mtime_ns > before
    before = (place / "refining/predictions.jsonl").stat().st_mtime_ns
    assert stamp(place, *call, "-o", "refining", "--refine", "sam:sam.pth").returncode == 0
    assert (place / "refining/predictions.jsonl").stat().st_mtime_ns == before
    weights.unlink()
    talk = stamp(place, "chat", "checkpoint", "photos/dog.png", "--refine", "sam:sam.pth")
    assert talk.returncode == 2 and "--refine sam:sam.pth: " in talk.stderr
