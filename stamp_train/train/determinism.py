"""The process: threads, kernels that give equal bits for equal input, memory."""

from __future__ import annotations

import resource

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
        # A help for finding bugs that every allocation would pay for.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def memory_held() -> float:
    """The most memory that this process has held so far, in GiB: on its GPU, or on a CPU all of it."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
