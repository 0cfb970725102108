"""The published label rule, against what the published code gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stamp_train.labels import sampled_labels
from stamp_train.losses import LOSSES
from stamp_train.model.inputs import FULL

GOLDEN = np.load(Path(__file__).parents[1] / "data/golden/labels.npz")
NAMES = sorted({name.partition("/")[0] for name in GOLDEN.files})


@pytest.mark.parametrize("name", NAMES)
def test_sampled_labels_are_those_of_the_published_code(name: str) -> None:
    shape = tuple(GOLDEN[f"{name}/shape"].tolist())
    mask = np.unpackbits(GOLDEN[f"{name}/mask_packed"], count=shape[0] * shape[1]).reshape(shape)
    rows, columns = GOLDEN[f"{name}/grid"].tolist()
    made = sampled_labels(mask, (rows, columns))
    ideal = GOLDEN[f"{name}/labels_all_sampled"] != 0
    assert set(np.unique(made)) <= {0, FULL}
    assert not (
        made[~ideal]
    ).any()  # rounding only ever loses a patch, and which ones depends on the processor's kernel
    assert np.array_equal(made != 0, GOLDEN[f"{name}/labels"] != 0)


def test_only_the_published_losses_sample() -> None:
    assert {name: loss.label_rule for name, loss in LOSSES.items()} == {
        "default": "coverage",
        "paper": "coverage",
        "published": "sampled",
    }
