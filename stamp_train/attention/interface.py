"""How a plan reaches the layers of the language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from stamp_train.sequence.errors import StampModelError

ATTENTION_NAME = "stamp"


class AttentionPlan(ABC):
    """What one backend has worked out from the structure of one sequence."""

    name: str

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention output [B, H, L, D] for query [B, H, L, D] and key, value [B, H_kv, L_kv, D]."""


def stamp_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    attention_plan: AttentionPlan | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function that transformers' attention layers call, with what was given to the model; output is [B, L, H, D].

    StampModelError if attention dropout is asked for: no released model uses it and not every backend has it.
    """
    if attention_plan is None:
        sdpa: Callable[..., tuple[Tensor, None]] = AttentionInterface()["sdpa"]  # type: ignore[no-untyped-call]
        return sdpa(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
    if dropout:
        raise StampModelError(
            f"attention dropout {dropout} is not supported on packed sequences", fix="set attention_dropout to 0"
        )
    # Under autocast the rotary embedding has made queries and keys float32 again; kernels want one type.
    query, key = query.to(value.dtype), key.to(value.dtype)
    return attention_plan.attend(query, key, value, scaling).transpose(1, 2).contiguous(), None


def register() -> None:
    """Make the name `stamp` known to transformers, and to its masks: for a name without one it would ignore padding."""
    AttentionInterface.register(ATTENTION_NAME, stamp_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
