"""In which precision a run computes: never in one that its machine has to emulate. The one place that decides it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import torch

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
