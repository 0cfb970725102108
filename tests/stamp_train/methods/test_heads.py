"""Readouts: where each logit lands, what learns from it, and how logits become masks."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stamp_train.backbones.presets import build_preset
from stamp_train.methods.patches import grid_to_patches, patches_to_grid
from stamp_train.methods.stamp.heads import FineHead, PatchHead
from stamp_train.sequence.document import Grid
from stamp_train.sequence.inputs import ImageFeatures, Reading
from stamp_train.sequence.layout import Layout

from ..stamping import PUBLISHED, settings

GRIDS = [(1, 1), (1, 5), (4, 1), (2, 3), (3, 2)]
SIDES = st.integers(1, 5)


@pytest.mark.parametrize("head", ["patch", "fine"])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_mask_loss_teaches_every_part(images_of: Callable[..., Any], head: str, grid: Grid) -> None:
    """Vision tower, language model, readout: a mask loss alone reaches them all, whatever the grid."""
    model, processor = build_preset("tiny", method=settings(head))
    method = model.method
    batch = Layout(processor.chat, method)(images_of([(grid, [0, 1])], side=method.side))
    method.losses(model(inputs=batch.inputs), batch.targets)["mask"][0].backward()
    for part in (model.model.visual, model.model.language_model.layers, model.classifier):
        without = [name for name, p in part.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert without == []
        assert sum(float(p.grad.abs().sum()) for p in part.parameters()) > 0


def test_the_fine_head_teaches_states_and_vision_features() -> None:
    states, vision = torch.randn(6, 16, requires_grad=True), torch.randn(6, 4, 8, requires_grad=True)
    read(fine_head(16, 8), states, vision).square().sum().backward()
    assert states.grad is not None and (states.grad.abs().sum(1) > 0).all()
    assert vision.grad is not None and (vision.grad.abs().sum(2) > 0).all()


def fine_head(hidden: int, vision: int) -> FineHead:
    torch.manual_seed(0)
    return FineHead(hidden, vision, settings(head_width=12)).eval()


def read(head: FineHead, states: Tensor, vision: Tensor) -> Tensor:
    """Logits of states, each with the features of its own patch."""
    features = ImageFeatures(torch.zeros(0), vision)
    found: Tensor = head(Reading(states, torch.arange(len(states)), (), features))["mask"]
    return found


def in_merge_order(picture: Tensor) -> Tensor:
    """[2h, 2w, E], a value for each 14-pixel patch in its place, as the vision tower gives it: [h * w, 4, E]."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    tokens = [
        picture[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].reshape(4, -1) for r, c in product(range(height), range(width))
    ]
    return torch.stack(tokens)


@pytest.mark.parametrize("grid", GRIDS)
def test_each_logit_comes_out_at_the_place_of_its_vision_feature(grid: Grid) -> None:
    """Features that encode the place of their 14-pixel patch: each of its four logits lies within it."""
    head = fine_head(16, 3)
    rows, columns = 2 * grid[0], 2 * grid[1]
    places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).float()
    features = torch.cat([places, 10 - places.sum(-1, keepdim=True)], -1)
    state = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        picture = patches_to_grid(read(head, state.expand(grid[0] * grid[1], -1), in_merge_order(features)), grid)
        for row, column in product(range(rows), range(columns)):
            one = read(head, state, features[row, column].expand(1, 4, 3))  # that patch in all four quadrants
            down, right = 2 * (row % 2), 2 * (column % 2)
            expected = patches_to_grid(one, (1, 1))[down : down + 2, right : right + 2]
            found = picture[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            torch.testing.assert_close(found, expected)


@given(height=SIDES, width=SIDES, side=SIDES)
def test_pictures_and_patches_are_inverse(height: int, width: int, side: int) -> None:
    picture = torch.arange(height * width * side * side).reshape(height * side, width * side)
    patches = grid_to_patches(picture, side)
    assert torch.equal(patches_to_grid(patches, (height, width)), picture)
    for number, patch in enumerate(patches):
        row, column = divmod(number, width)
        assert torch.equal(patch.reshape(side, side), picture[row * side :, column * side :][:side, :side])


def test_the_patch_head_is_the_published_classifier() -> None:
    head = PatchHead(64, 32, PUBLISHED)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {"weight": (1, 64), "bias": (1,)}
    states = torch.randn(3, 64)
    found = head(Reading(states, torch.zeros(3), (), ImageFeatures(states, states)))["mask"]
    torch.testing.assert_close(found, states @ head.weight.T + head.bias)
