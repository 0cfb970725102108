"""Muon for machines without bfloat16, and two optimizers over different weights as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Muon
from torch.overrides import TorchFunctionMode


class _Single(TorchFunctionMode):
    """Within it, `tensor.bfloat16()` is a copy in float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.bfloat16:
            return args[0].to(torch.float32, copy=True)
        return func(*args, **(kwargs or {}))


class SingleMuon(Muon):
    """Muon with its iteration in float32; PyTorch's asks for bfloat16 whatever the machine."""

    def step(self, closure: Any = None) -> Any:
        """See `torch.optim.Muon`."""
        with _Single():
            return super().step(closure)  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped


class Together(torch.optim.Optimizer):
    """Several optimizers over different weights, as one with all their groups."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """A learning rate that is set in one of our groups is set in the part's."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # not its overloads
        """One step of every part, after `closure`, if given, has made the gradients; what that returns."""
        loss = closure() if closure else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """States of the parts, in their order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the states of the parts back."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share()
