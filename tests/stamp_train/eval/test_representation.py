"""What labels score against golden labels, loops over patches, and what is known of whole and empty masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from stamp_data.grid import patch_grid
from stamp_schemas import Grid
from stamp_schemas.record import FULL, IGNORE
from stamp_train.eval.representation import RULES, Representation

from .made_sets import decoded, oracle

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "golden" / "labels.npz")
NAMES = sorted({name.partition("/")[0] for name in GOLDEN.files})


@pytest.mark.parametrize("name", NAMES)
def test_the_published_oracle_is_golden_labels_enlarged_by_whole_pixels(name: str) -> None:
    height, width = GOLDEN[f"{name}/shape"].tolist()
    truth = np.unpackbits(GOLDEN[f"{name}/mask_packed"], count=height * width).reshape(height, width) == 1
    labels = torch.from_numpy(GOLDEN[f"{name}/labels"]).double()
    expected = F.interpolate(labels[None, None], size=(height, width), mode="nearest")[0, 0].numpy() > 0
    assert np.array_equal(oracle(truth, rule="sampled", method="published"), expected)


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 4), columns=st.integers(1, 4), down=st.integers(1, 5))
def test_hard_labels_are_majorities_and_soft_ones_shares(seed: int, rows: int, columns: int, down: int) -> None:
    truth = np.random.default_rng(seed).random((rows * down, columns * 3)) < 0.5
    shares = truth.reshape(rows, down, columns, 3).mean(axis=(1, 3))
    grid = Grid(rows, columns)
    np.testing.assert_allclose(Representation("soft", 1).labels(truth, grid) / FULL, shares, atol=0.5 / FULL)
    assert np.array_equal(Representation("hard", 1).labels(truth, grid), np.where(shares > 0.5, FULL, 0))


def test_finer_labels_are_those_of_a_finer_grid() -> None:
    """A disc on 8 x 8 patches of 4 x 4 labels: what a fine readout can reach lies far above one label per patch."""
    rows, columns = np.mgrid[0:224, 0:224]
    truth = (rows - 100) ** 2 + (columns - 120) ** 2 < 40**2

    def score(**options: object) -> float:
        found = oracle(truth, 64, 64, **options)  # type: ignore[arg-type]
        return float((found & truth).sum() / (found | truth).sum())

    assert patch_grid(224, 224, 64, 64) == Grid(8, 8)
    assert score(rule="hard", method="published") < score() - 0.03
    assert score(side=4) > 0.98 > score() + 0.02


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("method", ["bilinear", "published"])
def test_whole_and_empty_masks_are_their_own_oracle(rule: str, method: str) -> None:
    """Of a size whose patches are whole pixels: at others rounding costs the published rule some patches."""
    for truth in (np.ones((64, 64), bool), np.zeros((64, 64), bool)):
        assert np.array_equal(oracle(truth, 16, 16, rule=rule, method=method), truth)


def test_ignored_patches_are_background() -> None:
    truth, ignore = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    ignore[:, :4] = True
    for rule in RULES:
        labels = Representation(rule, 1).labels(truth, Grid(2, 2), ignore)
        assert labels.tolist() == [[IGNORE, FULL], [IGNORE, FULL]]
    assert np.array_equal(decoded(labels, 8, 8, "published"), ~ignore)
    assert np.array_equal(oracle(truth, 4, 4, method="published", ignore=ignore), ~ignore)
