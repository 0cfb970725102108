"""The recipe of `make demo`, in single precision and with few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_train.recipes import resolve

from ..runs import log_of, make_shards, run

# Other bytes of the sets give another order, and so another curve; so does another base.
GOLDEN = [10.5386, 6.9343, 5.1973, 4.036, 3.6018, 3.2109, 2.9303, 2.866, 2.7031, 2.3097, 2.6897, 2.4284]


def test_the_curve_is_the_golden_one(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ("refcoco", "refcoco+", "refcocog", "grefcoco"))
    few = ["stages.0.steps=12", "batch.dialogues=12", "evaluation.records=2", "model.precision=float32"]
    metrics = run(resolve("tiny", [f"data.root={shards}", *few]), tmp_path / "run")
    rows = log_of(tmp_path / "run")
    assert [row["loss"] for row in rows] == pytest.approx(GOLDEN, abs=0.03)
    assert all(row["loss"] == pytest.approx(row["loss_text"] + row["loss_mask"]) for row in rows)
    assert set(metrics) == {"ciou", "label_ciou", "text_accuracy"}
