"""`stamp-train` whose comparison runs its commands in children that need not import; `test_jobs.py` starts real ones."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import traceback
from types import SimpleNamespace
from typing import Any

from stamp_cli import train
from stamp_train.compare import jobs, measure  # noqa: F401 - the latter for the children


class Child:
    """What `run_module` asks of `subprocess.Popen`, for `python -m MODULE ARGUMENTS…`."""

    def __init__(self, command: list[str], **_: Any) -> None:
        read, write = os.pipe()
        self.returncode = 0
        self.pid = os.fork()
        if self.pid == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream, to in enumerate((nothing, nothing, write)):
                os.dup2(to, stream)
            os._exit(_act(command[2], command[2:]))
        os.close(write)
        self.stderr = os.fdopen(read, errors="replace")

    def wait(self) -> int:
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.stderr.close()
        return self.returncode


def _act(module: str, arguments: list[str]) -> int:
    sys.argv = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:  # as the interpreter would
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()
    return 0


jobs.subprocess = SimpleNamespace(Popen=Child, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)  # type: ignore[assignment]
sys.argv[0] = "stamp-train"
train.main()
