"""The recipe of `make demo`, in single precision and with few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_train.recipes import resolve

from ..runs import log_of, make_shards, run

# Other bytes of the sets give another order, and so another curve; so does another base.
GOLDEN = [8.948, 6.9989, 5.6325, 4.8505, 4.2546, 3.8418, 3.5822, 3.5678, 3.4204, 2.9943, 2.7453, 2.9066]


def test_the_curve_is_the_golden_one(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ("refcoco", "refcoco+", "refcocog", "grefcoco"))
    few = ["stages.0.steps=12", "batch.dialogues=12", "evaluation.records=2", "model.precision=float32"]
    metrics = run(resolve("tiny", [f"data.root={shards}", *few]), tmp_path / "run")
    rows = log_of(tmp_path / "run")
    assert [row["loss"] for row in rows] == pytest.approx(GOLDEN, abs=0.03)
    assert all(row["loss"] == pytest.approx(row["loss_text"] + row["loss_mask"]) for row in rows)
    assert set(metrics) == {"ciou", "label_ciou", "text_accuracy"}
