"""Readouts: where each logit lands, what learns from it, and how logits become masks."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stamp_train.layout import Layout, LayoutOptions
from stamp_train.losses import LOSSES, loss_sums
from stamp_train.model.config import StampConfig
from stamp_train.model.heads import FineHead, Grid, PatchHead, grid_to_patches, patches_to_grid
from stamp_train.model.presets import build_preset

GRIDS = [(1, 1), (1, 5), (4, 1), (2, 3), (3, 2)]
SIDES = st.integers(1, 5)


@pytest.mark.parametrize("head", ["patch", "fine"])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_mask_loss_teaches_every_part(images_of: Callable[..., Any], head: str, grid: Grid) -> None:
    """Vision tower, language model, readout: a mask loss alone reaches them all, whatever the grid."""
    model, processor = build_preset("tiny", stamp=StampConfig(head=head))
    layout = Layout(processor.chat, LayoutOptions.of(model.config))
    batch = layout(images_of([(grid, [0, 1])], side=layout.options.side))
    loss_sums(model(inputs=batch.inputs), batch.targets, LOSSES["default"]).mask.backward()
    for part in (model.model.visual, model.model.language_model.layers, model.classifier):
        without = [name for name, p in part.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert without == []
        assert sum(float(p.grad.abs().sum()) for p in part.parameters()) > 0


def test_the_fine_head_teaches_states_and_vision_features() -> None:
    states, vision = torch.randn(6, 16, requires_grad=True), torch.randn(6, 4, 8, requires_grad=True)
    fine_head(16, 8)(states, vision, [(2, 3)]).square().sum().backward()
    assert states.grad is not None and (states.grad.abs().sum(1) > 0).all()
    assert vision.grad is not None and (vision.grad.abs().sum(2) > 0).all()


def fine_head(hidden: int, vision: int) -> FineHead:
    torch.manual_seed(0)
    return FineHead(hidden, vision, StampConfig(head_width=12)).eval()


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
        picture = patches_to_grid(head(state.expand(grid[0] * grid[1], -1), in_merge_order(features), [grid]), grid)
        for row, column in product(range(rows), range(columns)):
            one = head(state, features[row, column].expand(1, 4, 3), [(1, 1)])  # that patch in all four quadrants
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
    head = PatchHead(64, 32, StampConfig.published())
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {"weight": (1, 64), "bias": (1,)}
    states = torch.randn(3, 64)
    torch.testing.assert_close(head(states), states @ head.weight.T + head.bias)
