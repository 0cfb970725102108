"""What moves the weights, and how far, step by step."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW

from stamp_schemas.recipe import Optimizer, Recipe


def make_optimizer(recipe: Recipe, network: nn.Module) -> AdamW:
    """The recipe's optimizer over what is trained."""
    settings = recipe.optimizer
    return AdamW(
        [weight for weight in network.parameters() if weight.requires_grad],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate(settings: Optimizer, step: int, steps: int) -> float:
    """The rate of step number `step`, from 0, of a stage of `steps`: a pure function, so that no state could be lost.

    The linear schedule is that of the paper's Table S1: up over the first `warmup` of the steps, then down, so that the
    step after the last would have rate 0. The first step of a warm-up has a rate above 0: a step at 0 teaches nothing.
    """
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (steps - step) / (steps - warm)
