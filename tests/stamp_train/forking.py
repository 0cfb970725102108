"""`stamp-train` whose processes need not import; `compare/test_jobs.py` and `launch/test_torchrun.py` start real ones, too.

They are its children as ever, with sessions, pipes, signals and ends of their own: only what `exec` loads is there already.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from stamp_cli import train
from stamp_train.compare import jobs, measure  # noqa: F401 - the latter for the children


def start(
    args: Sequence[str], pass_fds: Collection[int] = (), env: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """`subprocess.Popen` of `python … -m MODULE ARGUMENTS…`, whose child never comes to call the interpreter."""
    act = partial(_act, args[args.index("-m") + 1 :], pass_fds, dict(os.environ if env is None else env))
    return subprocess.Popen(args, pass_fds=pass_fds, env=env, preexec_fn=act, **options)


def _act(words: Sequence[str], kept: Collection[int], environment: Mapping[str, str]) -> None:
    """What the command does, in the state that `exec` would leave; the process ends with it."""
    for number in {int(path.name) for path in Path("/proc/self/fd").iterdir()} - {0, 1, 2, *kept}:
        os.closerange(number, number + 1)  # among them that by which the parent hears that all is well
    for known in signal.valid_signals():
        if callable(signal.getsignal(known)):
            signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    logging.disable(logging.NOTSET)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(words)
    sys.modules.pop(words[0], None)  # or runpy warns
    code = 1
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:  # as the interpreter would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


jobs.subprocess = SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)  # type: ignore[assignment]
subprocess_handler.Popen = start
if __name__ == "__main__":
    sys.argv[0] = "stamp-train"
    train.main()
