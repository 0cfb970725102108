"""What the machine does to a run: threads, kernels that give equal bits for equal input, memory, speed, and its precision,
which is never one that has to be emulated."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from typing import Any

import msgspec
import torch

from stamp_schemas.recipe import Recipe
from stamp_train.estimate.devices import recognised
from stamp_train.recipes import Resolved

_KEY = "model.precision"
_X86_UNITS, _ARM_UNITS = ("amx_bf16", "avx512_bf16"), ("bf16",)


def native_bfloat16() -> bool:
    """Whether what a run computes on, GPU or processor, has units for products in bfloat16.

    Elsewhere PyTorch emulates them, at many times the time of float32. `ATEN_CPU_CAPABILITY`, which keeps PyTorch from units
    that a processor has, is heeded.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    units: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older PyTorch does not tell
    used = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return any(map(units.get, _ARM_UNITS)) or (used and any(map(units.get, _X86_UNITS)))


def with_native_precision(resolved: Resolved) -> Resolved:
    """The recipe; in float32 where bfloat16 would be emulated, which is then the precision's origin."""
    recipe = resolved.recipe
    if recipe.model.precision != "bf16" or native_bfloat16():
        return resolved
    model = msgspec.structs.replace(recipe.model, precision="float32")
    origins = {**resolved.origins, _KEY: "instead of bf16, which this machine would emulate"}
    return Resolved(resolved.name, msgspec.structs.replace(recipe, model=model), origins)


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


def peak_speed(precision: str) -> float:
    """Operations per second of this process's GPU as its maker states them, for bfloat16; 0 where that is not known."""
    found = recognised(torch.cuda.get_device_name()) if precision == "bf16" and torch.cuda.is_available() else None
    return found.teraflops * 1e12 if found else 0.0
