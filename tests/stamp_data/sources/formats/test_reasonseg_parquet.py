"""ReasonSeg as Parquet, in the columns of its mirror on Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stamp_data.doctor import examine

from ...raw import build, picture, read_set
from ..raw import Json, read
from .making import HEIGHT, WIDTH, Mask, Said, refused

RNG = np.random.default_rng(3)
ONE, TWO = RNG.random((HEIGHT, WIDTH)) > 0.5, RNG.random((HEIGHT, WIDTH)) > 0.8


def row(text: Any, mask: Mask, image_id: str = "10126_o", **other: Any) -> Json:
    return {
        "image": {"bytes": picture((WIDTH, HEIGHT)), "path": None},
        "text": text,
        "mask": mask.tolist(),
        "image_id": image_id,
        "ann_id": f"{image_id}_0",
        "img_height": HEIGHT,
        "img_width": WIDTH,
        **other,
    }


def write(path: Path, *rows: Json) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def test_texts_masks_and_pictures(tmp_path: Path) -> None:
    write(
        tmp_path / "data/test-00000-of-00001.parquet",
        row("the cup", ONE),
        row("What is it for?", TWO),
        row("it", TWO, "7"),
    )
    found = Said(tmp_path / "data", tmp_path / "out", "reason_seg_parquet")
    assert found.records == {"test": 2} and not found.rows
    assert np.array_equal(found.mask("the cup"), ONE) and np.array_equal(found.mask("What is it for?"), TWO)
    records, _ = read_set(build(tmp_path / "data", tmp_path / "again", "reason_seg_parquet")[0].folder)
    assert {loaded.image for loaded in records} == {picture((WIDTH, HEIGHT))}
    (first, _), _ = read("reason_seg_parquet", tmp_path / "data", "test")
    assert [(request.text, request.form) for request in first.requests] == [
        ("the cup", "description"),
        ("What is it for?", "question"),
    ]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    rows = [
        row("good", ONE),
        row("small", ONE[:9], "2"),
        row("empty", ONE & False, "3"),
        row(None, ONE, "4"),
        row("sizeless", ONE, "5", img_width=None),
        row("huge", ONE, "6", img_width=10**9, img_height=10**9),
        row("away", ONE, "../../7"),
        row("maskless", ONE, "8") | {"mask": None},
    ]
    found = Said(write(tmp_path / "data/test.parquet", *rows), tmp_path / "out", "reason_seg_parquet")
    assert found.phrases == ["good"]
    told = dict(found.reasons)
    assert [told[f"row {number}"] for number in range(1, 8)] == [
        *("bad-shape", "bad-shape", "no-phrase", "bad-image", "bad-shape", "path-escape", "bad-shape")
    ]


@pytest.mark.parametrize("cut", [0, 4, 100, -3])
def test_a_file_that_is_none_ends_in_one_line(cut: int, tmp_path: Path) -> None:
    path = write(tmp_path / "test.parquet", row("it", ONE))
    path.write_bytes(path.read_bytes()[:cut])
    with refused("Parquet|is empty"):
        Said(path, tmp_path / "out", "reason_seg_parquet")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    write(tmp_path / "data/test.parquet", row("it", ONE))
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("reason_seg_parquet", "ready", 1)
    assert not report.splits[0].findings
