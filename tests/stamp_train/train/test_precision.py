"""Nothing computes in a precision that the machine emulates, whoever's code it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stamp_train.recipes import resolve
from stamp_train.train.machine import native_bfloat16, with_native_precision

from ..runs import TIMEOUT, make_shards, write_recipe

NO_UNITS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Keeps PyTorch and its libraries from units for bfloat16, as on most laptops."""


def machine(
    monkeypatch: pytest.MonkeyPatch, units: str, used: str, gpu: bool | None = None, tells: bool = True
) -> None:
    """What PyTorch finds is replaced: the machine that a test runs on must not decide what it sees.

    units: of the processor. used: level of instructions that PyTorch keeps to. gpu: None, or whether it knows bfloat16.
    """
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: gpu or including_emulation)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: used)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, units: True}, raising=False)
    if not tells:
        monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older releases


@pytest.mark.parametrize(
    ("found", "native"),
    [
        ({"units": "avx512_bf16", "used": "AVX512"}, True),
        ({"units": "amx_bf16", "used": "AVX512"}, True),
        ({"units": "avx512_bf16", "used": "AVX2"}, False),  # held back by ATEN_CPU_CAPABILITY
        ({"units": "avx512_f", "used": "AVX512"}, False),
        ({"units": "fma3", "used": "AVX2"}, False),
        ({"units": "bf16", "used": "DEFAULT"}, True),  # ARM
        ({"units": "avx512_bf16", "used": "AVX512", "tells": False}, False),
        ({"units": "fma3", "used": "AVX2", "gpu": True}, True),
        ({"units": "avx512_bf16", "used": "AVX512", "gpu": False}, False),
    ],
)
def test_bfloat16_becomes_float32_where_a_machine_lacks_it(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, object], native: bool
) -> None:
    machine(monkeypatch, **found)  # type: ignore[arg-type]
    asked = resolve("stamp-2b")
    got = with_native_precision(asked)
    assert native_bfloat16() == native
    assert asked.recipe.model.precision == "bf16"
    assert got.recipe.model.precision == ("bf16" if native else "float32")
    assert with_native_precision(got) == got
    told = "instead of bf16, which this machine would emulate"
    assert got.origins["model.precision"] == (asked.origins["model.precision"] if native else told)


def test_the_emulated_setting_is_heeded() -> None:
    code = "from stamp_train.train.machine import native_bfloat16; print(native_bfloat16())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **NO_UNITS, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_nothing_is_computed_in_half_precision_where_that_is_emulated(tmp_path: Path) -> None:
    shards = make_shards(tmp_path, ("refcoco",))
    script = Path(__file__).parents[1] / "halves.py"
    done = subprocess.run(
        [sys.executable, script, write_recipe(tmp_path), shards, tmp_path / "out"],
        env={**os.environ, **NO_UNITS, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("a product, to see that it is counted") == {"aten::mm": 1}
    assert found == {part: {} for part in ("run", "predict", "export", "LoRA run", "LoRA checkpoint")}
