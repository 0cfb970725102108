"""Masks read a layer early: what they are, what their loss weighs, and that a run says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stamp_train.backbones.presets import build_preset
from stamp_train.methods.losses import total
from stamp_train.methods.stamp.losses import mask_losses

from .. import stamping
from ..runs import log_of, make_shards, train, write_recipe

SHAPE = [((3, 2), [1, 2]), (None, [0])]


def demo(**settings: Any) -> Any:
    """A tiny model in training, prepared as its demo asks."""
    network, _ = build_preset("tiny", method=stamping.settings(**settings))
    network.method.prepare(network)
    return network.train()


def test_early_masks_are_those_of_a_model_without_its_last_layer(pack: Callable[..., Any]) -> None:
    inputs, network = pack(SHAPE).inputs, demo(early=0.25)
    shorter = copy.deepcopy(network)
    del shorter.model.language_model.layers[-1]
    shorter.model.language_model.config.num_hidden_layers -= 1
    with torch.no_grad():
        both, plain = network(inputs=inputs).read, copy.deepcopy(network).eval()(inputs=inputs).read
        wanted = shorter.eval()(inputs=inputs).read["mask"]
    assert list(both) == ["mask", "early"] and list(plain) == ["mask"]
    assert torch.equal(both["mask"], plain["mask"])
    torch.testing.assert_close(both["early"], wanted)
    assert not torch.allclose(both["early"], both["mask"])


def test_the_early_loss_is_that_of_masks_by_its_weight(pack: Callable[..., Any]) -> None:
    batch, network = pack(SHAPE), demo(early=0.25)
    output, method = network(inputs=batch.inputs), network.method
    sums, over = method.losses(output, batch.targets), method.counts(batch.targets)
    text, mask, weighted = (sums[name][0] for name in ("text", "mask", "early"))
    early = mask_losses(output.read["early"], batch.targets, method.loss).sum()
    torch.testing.assert_close(sums["early"][0], 0.25 * early)
    torch.testing.assert_close(total(sums), text / over["text"] + (mask + weighted) / over["mask"])


@pytest.mark.slow
def test_a_run_logs_the_early_loss_and_is_the_same_on_two_processes(tmp_path: Path) -> None:
    shards, recipe = make_shards(tmp_path), write_recipe(tmp_path)
    logs = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = train(recipe, shards, out, "--set", "method.demo.early=0.5", processes=processes)
        assert done.returncode == 0, done.stderr
        logs.append(log_of(out))
    for row, other in zip(*logs, strict=True):
        assert row["loss"] == pytest.approx(row["loss_text"] + row["loss_mask"] + row["loss_early"], rel=1e-6)
        assert other["loss_early"] == pytest.approx(row["loss_early"], rel=1e-4)
    assert logs[0][0]["loss_early"] > 0
