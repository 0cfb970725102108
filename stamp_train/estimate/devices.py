"""Accelerators by name: what their makers state; and what this machine has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from stamp_data.executors.local import usable_cores
from stamp_schemas import UsageFault


@dataclass(frozen=True)
class Device:
    """One accelerator. memory: GiB. calls_itself: regular expression of the name that its driver gives.

    teraflops: dense bfloat16 multiply-adds, counted as two, in 10^12/s; 0 where that is not known.
    """

    teraflops: float
    memory: float
    calls_itself: str = ""


CORE_TERAFLOPS = 0.05  # of a core with AVX-512 in float32
# Data sheets of the makers, dense bfloat16; the CPU stands for two cores.
DEVICES: dict[str, Device] = {
    "a100-40": Device(312, 40, "A100.*40GB"),
    "a100-80": Device(312, 80, "A100.*80GB"),
    "a800": Device(312, 80, "A800"),
    "h100": Device(989, 80, "H100 80GB HBM3"),
    "h200": Device(989, 141, "H200$"),
    "b200": Device(2250, 180, "B200"),
    "l40s": Device(362, 48, "L40S"),
    "rtx4090": Device(165, 24, "RTX 4090$"),
    "mi300x": Device(1307, 192, "MI300X"),
    "cpu": Device(2 * CORE_TERAFLOPS, 8),
}


def recognised(name: str) -> Device | None:
    """The device whose driver calls it that, such as `NVIDIA H100 80GB HBM3`; None if it is not in the table.

    Cards of one name and another speed (H100 PCIe) are not: a wrong speed would be worse than none.
    """
    return next((one for one in DEVICES.values() if one.calls_itself and re.search(one.calls_itself, name)), None)


@dataclass(frozen=True)
class Machine:
    """Devices of one kind. name: for people."""

    name: str
    device: Device
    count: int


def _this_machine() -> Machine:
    """The GPUs that are here, else the processor, whose cores work as one device."""
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
        return Machine(name, recognised(name) or Device(0, memory / 2**30), torch.cuda.device_count())
    cores = usable_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = f"this machine's processor ({cores} core{'s' * (cores > 1)})"
    return Machine(name, Device(cores * CORE_TERAFLOPS, round(memory / 2**30, 1)), 1)


def machine(name: str, count: int | None) -> Machine:
    """So many devices of that name; by default what is here, and all of it. UsageFault: it is not in the table."""
    if name and name not in DEVICES:
        raise UsageFault(f"no device {name!r}", f"known: {', '.join(DEVICES)}")
    found = Machine(name, DEVICES[name], 1) if name else _this_machine()
    return replace(found, count=count or found.count)
