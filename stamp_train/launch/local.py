"""Several processes of a command on this machine, started by torchrun, which ends all of them when one dies."""

from __future__ import annotations

import sys
from collections.abc import Sequence

STARTED = "LOCAL_RANK"  # set by torchrun in every process that it starts


def torchrun(processes: int, arguments: Sequence[str]) -> list[str]:
    """The command line that runs `stamp-train ARGUMENTS…` in so many processes.

    Args:
        processes: one per GPU; on a CPU one per core at most.
        arguments: of `stamp-train`.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, "--module", "stamp_cli.train", *arguments]
