"""Masks squeezed to a square, against the published code's, and what each way of sampling keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from stamp_schemas import RLE
from stamp_train.methods.text4seg.method import squeeze
from stamp_train.methods.upsample import PUBLISHED, to_mask

MASKS = np.load(Path(__file__).parents[3] / "data/golden/text4seg/masks.npz")
SAMPLINGS = ("nearest", "coverage")
GRIDS = sorted(name.removesuffix("/grid") for name in MASKS.files if name.endswith("/grid"))


def packed(mask: np.ndarray) -> RLE:
    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return RLE((mask.shape[0], mask.shape[1]), found["counts"].decode())


@pytest.mark.parametrize("name", GRIDS)
def test_grid_and_its_enlargement_are_those_of_the_published_code(name: str) -> None:
    case, side = name.split("/g")
    height, width = MASKS[f"{case}/shape"].tolist()
    mask = np.unpackbits(MASKS[f"{case}/mask_packed"], count=height * width).reshape(height, width)
    assert np.array_equal(squeeze(packed(mask), int(side), "nearest"), MASKS[f"{name}/grid"])
    logits = torch.from_numpy(MASKS[f"{name}/decoded"] * 2.0 - 1)
    enlarged = np.unpackbits(MASKS[f"{name}/upsampled_packed"], count=height * width).reshape(height, width)
    assert np.array_equal(to_mask(logits, height, width, PUBLISHED), enlarged != 0)


def test_all_golden_grids_are_compared() -> None:
    assert len(GRIDS) == 38


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_mask_of_whole_cells_is_kept(sampling: str) -> None:
    cells = np.random.default_rng(0).integers(0, 2, (16, 16)).astype(np.uint8)
    mask = cells.repeat(6, 0).repeat(10, 1)
    assert np.array_equal(squeeze(packed(mask), 16, sampling), cells)


def test_a_point_is_not_an_area() -> None:
    mask = np.zeros((160, 160), np.uint8)
    mask[5, 5] = 1  # the centre of the first cell
    mask[10:20, 12:20] = 1  # most of the second row's second cell, and its centre
    mask[20:30, 0:4] = 1  # two fifths of the third row's first cell, and not its centre
    nearest, coverage = (squeeze(packed(mask), 16, sampling) for sampling in SAMPLINGS)
    assert nearest[0, 0] == 1 and coverage[0, 0] == 0
    assert nearest[1, 1] == coverage[1, 1] == 1
    assert nearest[2, 0] == coverage[2, 0] == 0


def test_half_a_cell_is_not_most_of_it() -> None:
    mask = np.zeros((160, 160), np.uint8)
    mask[:10, :5] = 1
    assert not squeeze(packed(mask), 16, "coverage").any()
    mask[:10, 5] = 1
    assert squeeze(packed(mask), 16, "coverage")[0, 0] == 1
