"""What moves the weights: AdamW, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon
from torch.overrides import TorchFunctionMode

from stamp_schemas.recipe import Optimizer, Recipe
from stamp_train.train.precision import native_bfloat16


def make_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer over what is trained. `share` of each of its groups: of the recipe's learning rate."""
    settings = recipe.optimizer
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    if settings.kind == "adamw":
        return _adamw(list(weights.values()), settings, share=1.0)
    # Muon is for maps between hidden states. Rows of an embedding are no such map, nor is the patches' convolution.
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    matrices = [weight for weight in weights.values() if weight.ndim == 2 and id(weight) not in tables]
    chosen = set(map(id, matrices))
    others = [weight for weight in weights.values() if id(weight) not in chosen]
    # Updates scaled to the size of AdamW's, so that rates compare (Liu et al., "Muon is scalable for LLM training").
    kind = Muon if native_bfloat16() else SingleMuon
    muon = kind(
        [{"params": matrices, "share": 1.0}],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return Together(muon, _adamw(others, settings, settings.rest))


def _adamw(weights: list[nn.Parameter], settings: Optimizer, share: float) -> AdamW:
    return AdamW(
        [{"params": weights, "share": share}],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


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
    """Several optimizers over different weights, as one.

    Args:
        parts: whose groups of weights are this one's.
    """

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
