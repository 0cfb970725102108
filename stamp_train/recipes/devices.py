"""Accelerators by name: what their makers state."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stamp_schemas import UsageFault


@dataclass(frozen=True)
class Device:
    """One accelerator.

    teraflops: dense bfloat16 multiply-adds, counted as two, in 10^12/s. memory: GiB. calls_itself: regular expression of the
    name that its driver gives; empty if it has none.
    """

    teraflops: float
    memory: float
    calls_itself: str = ""


# Data sheets of the makers, dense bfloat16; the CPU stands for two cores with AVX-512 in float32.
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
    "cpu": Device(0.1, 8),
}


def recognised(name: str) -> Device | None:
    """The device whose driver calls it that, such as `NVIDIA H100 80GB HBM3`; None if it is not in the table.

    Cards of one name and another speed (H100 PCIe) are not: a wrong speed would be worse than none.
    """
    return next((one for one in DEVICES.values() if one.calls_itself and re.search(one.calls_itself, name)), None)


def device(name: str) -> Device:
    """The device of that name.

    Raises:
        UsageFault: it is not in the table.
    """
    if name not in DEVICES:
        raise UsageFault(f"no device {name!r}", f"known: {', '.join(DEVICES)}")
    return DEVICES[name]
