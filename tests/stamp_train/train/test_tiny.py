"""The recipe of `make demo`, in single precision and with few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_train.recipes import resolve

from ..runs import log_of, make_shards, run

# Other bytes of the sets give another order, and so another curve.
GOLDEN = [9.242, 7.5873, 6.2025, 5.536, 4.9461, 4.7403, 5.2246, 5.3155, 4.5888, 4.4068, 3.9415, 3.6674]


def test_the_curve_is_the_golden_one(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ("refcoco", "refcoco+", "refcocog", "grefcoco"))
    few = [
        "stages.0.steps=6",
        "stages.1.steps=6",
        "batch.dialogues=12",
        "evaluation.records=2",
        "model.precision=float32",
    ]
    metrics = run(resolve("tiny", [f"data.root={shards}", *few]), tmp_path / "run")
    rows = log_of(tmp_path / "run")
    assert [row["loss"] for row in rows] == pytest.approx(GOLDEN, abs=0.03)
    assert all(row["loss"] == pytest.approx(row["loss_text"] + row["loss_mask"]) for row in rows)
    assert set(metrics) == {"ciou", "label_ciou", "text_accuracy"}
