"""Starting a run on more than one process. What all of that shares is here, and imports next to nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from stamp_schemas import UsageFault

STARTED = "LOCAL_RANK"  # set in every process that torchrun starts
_RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


def is_worker(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun, or what stands in for it here, has started this process to train."""
    return STARTED in environment


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one that speaks and writes for all."""
    return environment.get("RANK", "0") == "0"


def restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun or Slurm has started this run before: then it goes on from its own checkpoints."""
    return any(environment.get(name, "0") not in ("", "0") for name in _RESTARTS)


def parse_nodes(text: str) -> tuple[int, int]:
    """(least, most) of `N` or `LEAST:MOST`. UsageFault: it is neither."""
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < least <= most:
        raise UsageFault(f"--nodes {text!r} is neither N nor LEAST:MOST", "for example --nodes 2")
    return least, most
