"""`stamp-train env`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stamp_cli.console import print_json
from stamp_cli.make import Json

if TYPE_CHECKING:
    from stamp_train.train.environment import Environment


def env(json: Json = False) -> None:
    """Print what a run would find here: versions, devices, attention kernels. A report of a fault needs it."""
    from stamp_train.train.environment import environment

    found = environment()
    if json:
        return print_json(found)
    rows = list(_rows(found))
    width = max(len(name) for name, _ in rows)
    return print("\n".join(f"{name:{width}}  {value}" for name, value in rows))


def _rows(found: Environment) -> Iterator[tuple[str, str]]:
    yield "python", found.python
    yield "system", found.system
    for name, version in found.packages.items():
        yield name, version or "not installed"
    yield "processor", f"{found.cores} cores, {found.memory} GiB, {found.instructions}"
    yield "CUDA", found.cuda or "none: this PyTorch is built without it"
    for number, gpu in enumerate(found.gpus):
        yield f"GPU {number}", f"{gpu.name}, {gpu.memory} GiB, capability {gpu.capability}"
    yield "bfloat16", "native" if found.bfloat16 else "would be emulated: runs compute in float32"
    for precision, backend in found.attention.items():
        yield f"attention, {precision}", backend
    yield "flash kernel", found.flash
