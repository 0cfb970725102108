"""A tiny-base that is smaller still."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from stamp_schemas.recipe import Shape
from tools.tiny_base.batches import Batches, CachedChat
from tools.tiny_base.recipe import Recipe, read_recipe
from tools.tiny_base.scenes import Pool, open_pool
from tools.tiny_base.training import Learner

_SHAPE = Shape(layers=2, hidden=64, heads=2, vision_layers=1, vision_width=32, initializer_range=0.08, rope_theta=10)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    whole = read_recipe()
    scenes = msgspec.structs.replace(whole.scenes, train=12, held_out=4)
    return msgspec.structs.replace(whole, shape=_SHAPE, scenes=scenes, images=4, questions=6, looking=2)


@pytest.fixture(scope="session")
def begun(recipe: Recipe) -> Learner:
    """Before the first step; not to be trained."""
    return Learner(recipe)


@pytest.fixture(scope="session")
def fresh(begun: Learner) -> Callable[[], Learner]:
    """Makes one to be trained, with the same first weights."""
    return lambda: Learner(begun.recipe, copy.deepcopy(begun.state()))


@pytest.fixture(scope="session")
def pool(recipe: Recipe, begun: Learner, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return make(recipe, begun, tmp_path_factory.mktemp("scenes"))


def make(recipe: Recipe, learner: Learner, folder: Path) -> Pool:
    projection = learner.projection.proj.weight.detach().flatten(1)
    return open_pool(recipe.scenes, recipe.scenes.train_seed, recipe.scenes.train, projection, folder, lambda _: None)


@pytest.fixture
def batches(begun: Learner, pool: Pool) -> Batches:
    return Batches(pool, CachedChat(begun.tokenizer), begun.grid)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Equal bits for equal input."""
    torch.set_num_threads(1)
