"""The optimizer of a recipe, and the schedule of its rate."""

import copy
import io

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stamp_schemas.recipe import Optimizer, Recipe
from stamp_train.recipes import resolve
from stamp_train.train.optimizer import learning_rate, make_optimizer


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 6)
        self.layer = nn.Linear(6, 6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)


def recipe(**settings: object) -> Recipe:
    return msgspec.structs.replace(resolve("stamp-2b").recipe, optimizer=Optimizer(**settings))  # type: ignore[arg-type]


def give_gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator) if weight.requires_grad else None


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, seeds: range, rate: float = 0.01) -> None:
    for seed in seeds:
        for group in optimizer.param_groups:
            group["lr"] = rate
        give_gradients(network, seed)
        optimizer.step()
        optimizer.zero_grad()


def test_what_is_frozen_is_not_moved() -> None:
    network = Small()
    (group,) = make_optimizer(recipe(weight_decay=0.5), network).param_groups
    moved = {id(weight) for weight in group["params"]}
    assert moved == {id(weight) for weight in network.parameters()} - {
        id(weight) for weight in network.frozen.parameters()
    }
    assert (group["weight_decay"], group["betas"]) == (0.5, (0.9, 0.999))


def test_a_state_that_was_stored_goes_on_to_the_same_bits() -> None:
    network = Small()
    optimizer = make_optimizer(recipe(), network)
    steps(network, optimizer, range(2))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = copy.deepcopy(network)
    resumed = make_optimizer(recipe(), again)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    steps(network, optimizer, range(2, 5), rate=0.02)
    steps(again, resumed, range(2, 5), rate=0.02)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


# --- schedule ---------------------------------------------------------------------------------------------------------


@given(steps=st.integers(1, 3000), warmup=st.floats(0, 0.5))
def test_the_schedule_rises_then_falls_to_nothing(steps: int, warmup: float) -> None:
    settings = Optimizer(learning_rate=2.0, warmup=warmup)
    rates = [learning_rate(settings, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert min(rates) > 0 and max(rates) <= 2.0
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_schedule_is_that_of_the_published_trainer_shifted_off_zero() -> None:
    import torch
    from transformers import get_linear_schedule_with_warmup

    steps, warm = 100, 3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-5)
    theirs = get_linear_schedule_with_warmup(optimizer, warm, steps)
    rates = []
    for _ in range(steps):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = [learning_rate(Optimizer(learning_rate=3e-5, warmup=0.03), step, steps) for step in range(steps)]
    assert ours[warm:] == pytest.approx(rates[warm:])
    assert ours[: warm - 1] == pytest.approx(rates[1:warm])


def test_a_constant_schedule_warms_up_and_stays() -> None:
    settings = Optimizer(learning_rate=1.0, warmup=0.5, schedule="constant")
    assert [learning_rate(settings, step, 4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
