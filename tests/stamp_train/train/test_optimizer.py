"""The optimizers of a recipe: which weights Muon moves, that several behave as one, and the schedule of their rate."""

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
from stamp_train.train.machine import native_bfloat16
from stamp_train.train.muon import SingleMuon, Together
from stamp_train.train.optimizer import learning_rate, make_optimizer


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 6)
        self.patches = nn.Conv3d(3, 6, (2, 2, 2))
        self.layer = nn.Linear(6, 6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)


def recipe(**settings: object) -> Recipe:
    return msgspec.structs.replace(resolve("tiny").recipe, optimizer=Optimizer(**settings))  # type: ignore[arg-type]


def give_gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator) if weight.requires_grad else None


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, seeds: range, rate: float = 0.01) -> None:
    for seed in seeds:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        give_gradients(network, seed)
        optimizer.step()
        optimizer.zero_grad()


def test_muon_moves_the_matrices_of_layers_and_adamw_the_rest() -> None:
    network = Small()
    optimizer = make_optimizer(recipe(kind="muon"), network)
    assert isinstance(optimizer, Together)
    muon, adamw = optimizer.parts
    assert [id(weight) for group in muon.param_groups for weight in group["params"]] == [id(network.layer.weight)]
    rest = {id(weight) for group in adamw.param_groups for weight in group["params"]}
    wanted = (network.table.weight, network.patches.weight, network.patches.bias, network.layer.bias)
    assert rest == {id(weight) for weight in wanted}


def test_together_does_what_its_parts_do_alone() -> None:
    one, other = Small(), Small()
    optimizer = make_optimizer(recipe(kind="muon", betas=(0.8, 0.9), adamw_ratio=0.5), one)
    steps(one, optimizer, range(3))
    kind = torch.optim.Muon if native_bfloat16() else SingleMuon
    muon = kind([other.layer.weight], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [other.table.weight, other.patches.weight, other.patches.bias, other.layer.bias],
        lr=0.005,
        betas=(0.8, 0.9),
        weight_decay=0.0,
        fused=True,
    )
    for seed in range(3):
        give_gradients(other, seed)
        muon.step()
        adamw.step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_state_that_was_stored_goes_on_to_the_same_bits(kind: str) -> None:
    network = Small()
    optimizer = make_optimizer(recipe(kind=kind), network)
    steps(network, optimizer, range(2))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = copy.deepcopy(network)
    resumed = make_optimizer(recipe(kind=kind), again)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    steps(network, optimizer, range(2, 5), rate=0.02)
    steps(again, resumed, range(2, 5), rate=0.02)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_muon_is_refused_where_matrices_are_cut_up() -> None:
    with pytest.raises(Exception, match=r"optimizer.kind muon needs whole matrices"):
        resolve("tiny", ["optimizer.kind=muon", "engine=fsdp"])


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
