"""Muon for many small matrices: those of one shape are orthogonalised together, as small products leave a processor idle.

Keller Jordan et al., "Muon" (2024), with updates scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM
training"). `torch.optim.Muon` computes the same, a matrix at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the iteration, as published
_STEPS = 5
_MOMENTUM = 0.95
_MATCHED = 0.2  # of the root of the longer side: size of AdamW's updates


class Muon(torch.optim.Optimizer):
    """matrices: all of two axes. lr, decay: learning rate, and decoupled weight decay. dtype: of the iteration."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, decay: float, dtype: torch.dtype) -> None:
        shapes: dict[tuple[int, ...], list[Tensor]] = {}
        for matrix in matrices:
            shapes.setdefault(tuple(matrix.shape), []).append(matrix)
        self.dtype = dtype
        super().__init__([{"params": group} for group in shapes.values()], {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no closure
        """One step of every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            weights, lr = [weight for weight in group["params"] if weight.grad is not None], group["lr"]
            if not weights:
                continue
            gradients = torch.stack([weight.grad for weight in weights])
            momenta = [self.state[weight].setdefault("momentum", torch.zeros_like(weight)) for weight in weights]
            torch._foreach_lerp_(momenta, gradients.unbind(), 1 - _MOMENTUM)
            update = orthogonal(gradients.lerp(torch.stack(momenta), _MOMENTUM), self.dtype)
            update *= -lr * _MATCHED * max(update.shape[1:]) ** 0.5
            for weight, change in zip(weights, update, strict=True):
                weight.mul_(1 - lr * group["decay"]).add_(change)


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Nearly the closest orthogonal matrix to each of [N, rows, columns], float32: all singular values come near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    found = (matrices.mT if tall else matrices).to(dtype)
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(_STEPS):
        square = found @ found.mT
        found = _A * found + (_B * square + _C * square @ square) @ found
    turned: Tensor = found.mT if tall else found
    return turned.float()
