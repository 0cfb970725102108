"""Masks read a layer early: what they are, what their loss weighs, and that a run says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stamp_train.methods.losses import total
from stamp_train.methods.stamp.losses import LossSettings, count, losses, mask_losses

from ..runs import log_of, make_shards, train, write_recipe

SHAPE = [((3, 2), [1, 2]), (None, [0])]


def test_early_masks_are_those_of_a_model_without_its_last_layer(
    tiny: SimpleNamespace, pack: Callable[..., Any]
) -> None:
    inputs = pack(SHAPE).inputs
    shorter = copy.deepcopy(tiny.model)
    del shorter.model.language_model.layers[-1]
    shorter.model.language_model.config.num_hidden_layers -= 1
    with torch.no_grad():
        both, plain = tiny.model(inputs=inputs, early=True), tiny.model(inputs=inputs)
        wanted = shorter(inputs=inputs).mask_logits
    assert plain.early_mask_logits is None
    assert torch.equal(both.mask_logits, plain.mask_logits)
    torch.testing.assert_close(both.early_mask_logits, wanted)
    assert not torch.allclose(both.early_mask_logits, both.mask_logits)


def test_the_early_loss_is_that_of_masks_by_its_weight(tiny: SimpleNamespace, pack: Callable[..., Any]) -> None:
    batch = pack(SHAPE)
    settings = LossSettings(early=0.25)
    output = tiny.model(inputs=batch.inputs, early=True)
    sums, over = losses(output, batch.targets, settings), count(batch.targets, settings)
    text, mask, weighted = (sums[name][0] for name in ("text", "mask", "early"))
    early = mask_losses(output.early_mask_logits, batch.targets, settings).sum()
    torch.testing.assert_close(sums["early"][0], 0.25 * early)
    torch.testing.assert_close(total(sums), text / over["text"] + (mask + weighted) / over["mask"])
    without = losses(tiny.model(inputs=batch.inputs), batch.targets, settings)
    assert float(without["early"][0]) == 0


@pytest.mark.slow
def test_a_run_logs_the_early_loss_and_is_the_same_on_two_processes(tmp_path: Path) -> None:
    shards, recipe = make_shards(tmp_path), write_recipe(tmp_path)
    logs = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        done = train(recipe, shards, out, "--set", "early=0.5", processes=processes)
        assert done.returncode == 0, done.stderr
        logs.append(log_of(out))
    for row, other in zip(*logs, strict=True):
        assert row["loss"] == pytest.approx(row["loss_text"] + row["loss_mask"] + row["loss_early"], rel=1e-6)
        assert other["loss_early"] == pytest.approx(row["loss_early"], rel=1e-4)
    assert logs[0][0]["loss_early"] > 0
