"""What makes two runs of the same recipe the same: threads, deterministic kernels, one optimizer."""

from __future__ import annotations

from typing import Any

import torch

from stamp_schemas.recipe import Recipe


def make_exact(recipe: Recipe) -> None:
    """Settings of this process. On a CPU all kernels become deterministic: then a resumed run ends in the same bits.

    CUDA is left alone: its deterministic kernels are slow, and some that attention needs do not exist.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # a help for finding bugs, paid in every step


def make_optimizer(recipe: Recipe, network: Any) -> torch.optim.AdamW:
    """AdamW over what is trained, with the recipe's settings."""
    settings = recipe.optimizer
    return torch.optim.AdamW(
        [weight for weight in network.parameters() if weight.requires_grad],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
