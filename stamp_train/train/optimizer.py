"""What moves the weights, AdamW, or Muon for the matrices and AdamW for the rest; and how far, step by step."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import AdamW, Muon

from stamp_schemas.recipe import Optimizer, Recipe
from stamp_train.train.machine import native_bfloat16
from stamp_train.train.muon import SingleMuon, Together


def make_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer over what is trained. `ratio` of each of its groups: to the recipe's learning rate."""
    settings = recipe.optimizer
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    if settings.kind == "adamw":
        return _adamw(list(weights.values()), settings, ratio=1.0)
    # Muon is for maps between hidden states. Rows of an embedding are no such map, nor is the patches' convolution.
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    matrices = [weight for weight in weights.values() if weight.ndim == 2 and id(weight) not in tables]
    chosen = set(map(id, matrices))
    others = [weight for weight in weights.values() if id(weight) not in chosen]
    # Updates scaled to the size of AdamW's, so that rates compare (Liu et al., "Muon is scalable for LLM training").
    kind = Muon if native_bfloat16() else SingleMuon
    muon = kind(
        [{"params": matrices, "ratio": 1.0}],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return Together(muon, _adamw(others, settings, settings.adamw_ratio))


def _adamw(weights: list[nn.Parameter], settings: Optimizer, ratio: float) -> AdamW:
    return AdamW(
        [{"params": weights, "ratio": ratio}],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate(settings: Optimizer, step: int, steps: int, schedule: str = "") -> float:
    """The rate of step number `step`, from 0, of a stage of `steps`: a pure function, so that no state could be lost.

    The linear schedule is that of the paper's Table S1: up over the first `warmup` of the steps, then down, so that the
    step after the last would have rate 0. The first step of a warm-up has a rate above 0: a step at 0 teaches nothing.
    schedule: of the stage, if it has one of its own.
    """
    warm = math.ceil(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if (schedule or settings.schedule) == "constant":
        return settings.learning_rate
    return settings.learning_rate * (steps - step) / (steps - warm)
