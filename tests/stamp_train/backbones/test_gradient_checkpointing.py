"""Gradient checkpointing: layers run again in the backward pass, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from stamp_train.recipes import resolve
from stamp_train.sequence.layout import Layout
from stamp_train.train.network import build_network
from stamp_train.train.step import StepRunner

from ..conftest import random_images
from ..runs import write_recipe

SHAPE = [((2, 3), [0, 1, 3]), ((3, 2), [4]), (None, [2])]


def one_step(folder: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, int], list[str]]:
    """Gradients, how often each layer ran, and which weights are trained."""
    network, processor = build_network(resolve(str(write_recipe(folder)), overrides).recipe)
    ran: dict[str, int] = {}

    def count(name: str) -> Any:
        return lambda *_: ran.update({name: ran.get(name, 0) + 1})

    for name, module in network.named_modules():
        if type(module).__name__ in network._no_split_modules:
            module.mlp.register_forward_pre_hook(count(name))  # within the layer: its own hooks do not run again
    layout = Layout(processor.chat, network.method, network.config.text_config.max_position_embeddings)
    runner = StepRunner(Accelerator(cpu=True), network, layout, network.method, "auto")
    runner.gradients([random_images(SHAPE, side=network.method.side)], 1e9, "test")
    weights = dict(network.named_parameters())
    found = {name: weight.grad for name, weight in weights.items() if weight.grad is not None}
    return found, ran, [name for name, weight in weights.items() if weight.requires_grad]


@pytest.mark.parametrize("more", [(), ("model.freeze_vision=true",)])
def test_layers_run_twice_for_the_same_gradients(more: tuple[str, ...], tmp_path: Path) -> None:
    plain, ran_once, trained = one_step(tmp_path, *more)
    found, ran, _ = one_step(tmp_path, "model.gradient_checkpointing=true", *more)
    assert set(ran_once.values()) == {1} and len(ran_once) == 4
    again = {name for name, times in ran.items() if times == 2}
    assert {name for name in ran if "language_model" in name or not more} <= again
    assert set(found) == set(plain) == set(trained)
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
    assert any("visual" in name for name in trained) == (not more)
