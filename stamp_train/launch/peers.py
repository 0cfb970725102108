"""Telling the loss of another process from a fault of this one."""

from __future__ import annotations

import re

from torch.distributed import DistError

_GLOO = re.compile(
    r"\[[^]]*gloo/[^]]*] (?P<reason>.*?)(\. |\n|$)"
)  # it raises plain errors, after the place in its source


def lost_peer(fault: RuntimeError) -> str:
    """Why a collective cannot be done if another process is gone, or has hung for too long; else empty."""
    if found := _GLOO.match(str(fault)):
        return found["reason"]
    return str(fault).splitlines()[0] if isinstance(fault, DistError) else ""
