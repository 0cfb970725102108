"""Accelerators by name: what their makers state."""

from __future__ import annotations

from dataclasses import dataclass

from stamp_schemas import UsageFault


@dataclass(frozen=True)
class Device:
    """One accelerator. teraflops: dense bfloat16 multiply-adds, counted as two, in 10^12/s. memory: GiB."""

    teraflops: float
    memory: float


# Data sheets of the makers, dense bfloat16; the CPU stands for two cores with AVX-512 in float32.
DEVICES: dict[str, Device] = {
    "a100-40": Device(312, 40),
    "a100-80": Device(312, 80),
    "a800": Device(312, 80),
    "h100": Device(989, 80),
    "h200": Device(989, 141),
    "b200": Device(2250, 180),
    "l40s": Device(362, 48),
    "rtx4090": Device(165, 24),
    "mi300x": Device(1307, 192),
    "cpu": Device(0.1, 8),
}


def device(name: str) -> Device:
    """The device of that name.

    Raises:
        UsageFault: it is not in the table.
    """
    if name not in DEVICES:
        raise UsageFault(f"no device {name!r}", f"known: {', '.join(DEVICES)}")
    return DEVICES[name]
