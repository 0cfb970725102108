"""Commands as real processes that need not import for seconds: children of one process that has imported all that they take.

A child has an environment, a folder, files and signals of its own, and ends as any Python does. What is about starting,
importing or killing a command starts it as users do.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

SERVER = """
import gc, json, os, runpy, signal, sys
import stamp_train.publish.export, stamp_train.train.loop, stamp_train.train.network, stamp_train.predict.segmenter
import stamp_train.eval.evaluator, stamp_train.eval.page, stamp_train.eval.runners, stamp_train.eval.session
from stamp_cli import data, train

def serve():
    "Start what is asked for, and say how it ended; comes back in a child, with what it is to do."
    for line in os.fdopen(os.dup(0)):  # sys.stdin stays unread, for the children
        request, children, codes = json.loads(line), set(), []
        for more in request["environments"]:
            if (child := os.fork()) == 0:
                os.environ.clear()
                os.environ.update(request["environment"], **more)
                return request
            children.add(child)
        while children:
            child, status = os.wait()
            children.discard(child)
            codes.append(os.waitstatus_to_exitcode(status))
            if codes[-1]:
                for other in children:
                    os.kill(other, signal.SIGKILL)
        print(json.dumps(next(filter(None, codes), 0)), flush=True)
    sys.exit()

gc.collect()
gc.freeze()
print(json.dumps("ready"), flush=True)
request = serve()
os.chdir(request["folder"])
for number, name in enumerate(("stdin", "stdout", "stderr")):
    os.dup2(os.open(request[name], os.O_RDWR | os.O_APPEND), number)
sys.argv = request["arguments"]
if sys.argv[0] == "python":
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    {"stamp-data": data, "stamp-train": train}[sys.argv[0]].main()
"""
READY = 120  # seconds


class Warm:
    """The process that starts the others; started when it is first asked."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def run(
        self,
        *arguments: object,
        cwd: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        processes: int = 1,
        said: str = "",
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """`stamp-data …`, `stamp-train …` or `python FILE …` to its end, with `said` on standard input.

        processes: that train together, as torchrun would start them. The exit code is that of the first one to fail.
        """
        command = list(map(str, arguments))
        with tempfile.TemporaryDirectory() as kept:
            files = {name: Path(kept, name) for name in ("stdin", "stdout", "stderr")}
            for name, file in files.items():
                file.write_text(said if name == "stdin" else "", encoding="utf-8")
            request = {
                "arguments": command,
                "folder": str(cwd or Path.cwd()),
                "environment": {"OMP_NUM_THREADS": "1", **environment},
                "environments": _ranks(processes) if processes > 1 else [{}],
                **{name: str(file) for name, file in files.items()},
            }
            code = self._ask(json.dumps(request), timeout)
            out, err = (files[name].read_text(encoding="utf-8") for name in ("stdout", "stderr"))
        if code is None:
            raise subprocess.TimeoutExpired(command, timeout, out, err)
        return subprocess.CompletedProcess(command, int(code), out, err)

    def _ask(self, request: str, timeout: float) -> object:
        server = self._started()
        assert server.stdin is not None
        server.stdin.write(request + "\n")
        server.stdin.flush()
        return self._answer(server, timeout)

    def _started(self) -> subprocess.Popen[str]:
        if self._server is None or self._server.poll() is not None:
            self._server = subprocess.Popen(
                [sys.executable, "-c", SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            atexit.register(self.close)
            assert self._answer(self._server, READY) == "ready"
        return self._server

    def _answer(self, server: subprocess.Popen[str], timeout: float) -> object:
        """None, and the end of all its children, if it does not come in time."""
        assert server.stdout is not None
        if not select.select([server.stdout], [], [], timeout)[0]:
            self.close()
            return None
        return json.loads(server.stdout.readline())

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None and server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()


def _ranks(processes: int) -> list[dict[str, str]]:
    """What torchrun tells its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_PORT": port}
    shared |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RESTART_COUNT": "0"}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


warm = Warm()
