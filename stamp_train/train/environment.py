"""What a run would find here: versions, devices, and which kernels attention would take; what reports of faults need."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import msgspec
import torch

from stamp_data.executors.local import usable_cores
from stamp_train.attention.flash import find_kernel
from stamp_train.attention.select import resolve
from stamp_train.train.machine import native_bfloat16

_PACKAGES = (
    "stamp-seg", "torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers", "numpy", "pillow",
    "flash-attn", "deepspeed", "simplejpeg",
)  # fmt: skip


class GPU(msgspec.Struct, frozen=True):
    """One device. memory: GiB. capability: of CUDA, such as `9.0`."""

    name: str
    memory: float
    capability: str


class Environment(msgspec.Struct, frozen=True):
    """No name of a machine, a user or a path is in it. memory: GiB. instructions: what PyTorch uses of the processor.

    packages: versions, "" for what is not installed. cuda: that PyTorch was built for, "" for none. bfloat16: whether it is
    computed without emulation. attention: precision -> the backend that `auto` means. flash: whose kernel `flash` would take.
    """

    python: str
    system: str
    packages: dict[str, str]
    cores: int
    memory: float
    instructions: str
    cuda: str
    gpus: list[GPU]
    bfloat16: bool
    attention: dict[str, str]
    flash: str


def environment() -> Environment:
    """Of this process, with the devices that it is shown."""
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        packages={name: _version(name) for name in _PACKAGES},
        cores=usable_cores(),
        memory=_gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        instructions=torch.backends.cpu.get_cpu_capability(),
        cuda=torch.version.cuda or "",
        gpus=[_gpu(index) for index in range(torch.cuda.device_count())],
        bfloat16=native_bfloat16(),
        attention={str(dtype)[6:]: resolve("auto", here, dtype) for dtype in (torch.bfloat16, torch.float32)},
        flash=_flash(),
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _gpu(index: int) -> GPU:
    found = torch.cuda.get_device_properties(index)
    return GPU(found.name, _gib(found.total_memory), f"{found.major}.{found.minor}")


def _flash() -> str:
    kernel = find_kernel()
    return {"_flash_attn_kernel": "flash-attn", "_torch_kernel": "torch"}[kernel.__name__] if kernel else "none"


def _gib(size: int) -> float:
    return round(size / 2**30, 1)
