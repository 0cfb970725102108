"""`flash`: variable-length FlashAttention, two calls per layer: all text causally, all mask blocks in full."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stamp_train.attention.interface import AttentionPlan
from stamp_train.attention.partition import Partition, Segment, partition
from stamp_train.sequence.structure import AttentionStructure

# (query [Tq, H, D], key, value [Tk, H_kv, D], cumulative lengths of both, longest of both, causal, scale) -> [Tq, H, D]
# `causal` means aligned to the lower right of each query-key rectangle.
VarlenKernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, bool, float], Tensor]


def find_kernel() -> VarlenKernel | None:
    """The variable-length kernel of this machine: flash-attn if installed, else PyTorch's own; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    if importlib.util.find_spec("flash_attn") is not None:
        return _flash_attn_kernel
    return _torch_kernel if _torch_has_kernel() else None


def _torch_has_kernel() -> bool:
    """Whether this PyTorch's own kernel exists and knows grouped heads (its first versions did not)."""
    if importlib.util.find_spec("torch.nn.attention.varlen") is None:
        return False
    from torch.nn.attention.varlen import varlen_attn

    return {"enable_gqa", "window_size", "scale"} <= set(inspect.signature(varlen_attn).parameters)


def _flash_attn_kernel(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, causal: bool, scale: float
) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    out: Tensor = flash_attn_varlen_func(q, k, v, cu_q, cu_k, max_q, max_k, softmax_scale=scale, causal=causal)
    return out


def _torch_kernel(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int, causal: bool, scale: float
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    options: dict[str, Any] = {"window_size": (-1, 0) if causal else (-1, -1), "enable_gqa": q.shape[1] != k.shape[1]}
    out = varlen_attn(q, k, v, cu_q, cu_k, max_q, max_k, scale=scale, **options)
    return out[0] if isinstance(out, tuple) else out


class _Call:
    """The rows and lengths of one kernel call: all segments of one kind, one after another."""

    def __init__(self, found: Partition, segments: Sequence[Segment], causal: bool, device: torch.device) -> None:
        ends = torch.tensor(found.lengths).cumsum(0).tolist()
        rows = [torch.arange(end - length, end) for end, length in zip(ends, found.lengths, strict=True)]
        self.q_rows, cu_q, max_q = _gather([segment.query for segment in segments], rows, device)
        self.k_rows, cu_k, max_k = _gather([segment.key for segment in segments], rows, device)
        self.how = cu_q, cu_k, max_q, max_k, causal  # in the order of `VarlenKernel`


def _gather(
    sides: Sequence[tuple[int, ...]], rows: Sequence[Tensor], device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """Row numbers, cumulative lengths (int32, from 0) and the longest of the given lists of pieces."""
    lists = [torch.cat([rows[number] for number in side]) for side in sides]
    lengths = [len(members) for members in lists]
    cumulative = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return torch.cat(lists).to(device), cumulative.to(device), max(lengths)


class FlashPlan(AttentionPlan):
    """Variable-length attention by a kernel, usually that of `find_kernel()`."""

    name = "flash"

    def __init__(self, structure: AttentionStructure, kernel: VarlenKernel) -> None:
        self.kernel = kernel
        found = partition(structure)
        device = structure.document.device
        kinds = [(causal, [s for s in found.segments if s.causal is causal]) for causal in (True, False)]
        self.calls = [_Call(found, segments, causal, device) for causal, segments in kinds if segments]
        # Every token is a query exactly once, so the outputs of the calls are a permutation of the sequence.
        self.back = torch.cat([call.q_rows for call in self.calls]).argsort()

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `AttentionPlan.attend`; batch size 1."""
        q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
        outputs = [self.kernel(q[call.q_rows], k[call.k_rows], v[call.k_rows], *call.how, scale) for call in self.calls]
        return torch.cat(outputs)[self.back].transpose(0, 1)[None]
