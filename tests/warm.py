"""Commands as real processes that need not import for seconds: children of one process that has imported all that they take.

A child has an environment, a folder, files and signals of its own, and ends as any Python does. What is about starting or
importing a command starts it as users do.
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
import time
from collections.abc import Mapping
from pathlib import Path

SERVER = """
import gc, json, os, runpy, signal, sys
import pyarrow
import stamp_train.publish.export, stamp_train.train.loop, stamp_train.train.network, stamp_train.predict.segmenter
import stamp_train.eval.evaluator, stamp_train.eval.page, stamp_train.eval.runners, stamp_train.eval.session
from stamp_cli import data, train
from stamp_train.backbones.modeling import model_class

model_class("qwen2_vl")
pyarrow.array([0])  # which imports pandas, where it is

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
            print(child, file=open(request["pids"], "a"), flush=True)
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
        self._busy = False

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
        return self.start(*arguments, cwd=cwd, environment=environment, processes=processes, said=said).wait(timeout)

    def start(
        self,
        *arguments: object,
        cwd: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        processes: int = 1,
        said: str = "",
    ) -> Running:
        """As `run`, without waiting for its end. What a failed test has left at work is ended first."""
        if self._busy:
            self.close()
        kept = tempfile.TemporaryDirectory()
        running = Running(self, list(map(str, arguments)), kept)
        for name in ("stdin", "stdout", "stderr", "pids"):
            Path(kept.name, name).write_text(said if name == "stdin" else "", encoding="utf-8")
        request = {
            "arguments": running.command,
            "folder": str(cwd or Path.cwd()),
            "environment": {"OMP_NUM_THREADS": "1", **environment},
            "environments": _ranks(processes) if processes > 1 else [{}],
            **{name: str(Path(kept.name, name)) for name in ("stdin", "stdout", "stderr", "pids")},
        }
        server = self._started()
        self._busy = True
        assert server.stdin is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        until = time.monotonic() + READY
        while len(running.pids) < processes:
            assert time.monotonic() < until
            time.sleep(0.001)
        return running

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

    def answer(self, timeout: float) -> object:
        """How what is at work ends; None, and the end of it all, if that does not come in time."""
        found = self._answer(self._started(), timeout)
        self._busy = False
        return found

    def _answer(self, server: subprocess.Popen[str], timeout: float) -> object:
        """None, and the end of all its children, if it does not come in time."""
        assert server.stdout is not None
        if not select.select([server.stdout], [], [], timeout)[0]:
            self.close()
            return None
        return json.loads(server.stdout.readline())

    def close(self) -> None:
        server, self._server, self._busy = self._server, None, False
        if server is not None and server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.communicate()


class Running:
    """A command at work."""

    def __init__(self, server: Warm, command: list[str], kept: tempfile.TemporaryDirectory[str]) -> None:
        self.command = command
        self._server, self._kept = server, kept

    @property
    def pids(self) -> list[int]:
        """Of its processes, in the order of their ranks."""
        return [int(line) for line in self._said("pids").split("\n")[:-1]]

    @property
    def ended(self) -> bool:
        """Whether the first process has, or cannot be helped any more."""
        return not Path(f"/proc/{self.pids[0]}").exists()

    @property
    def told(self) -> str:
        """What it has said on standard error so far."""
        return self._said("stderr")

    def wait(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Its end; TimeoutExpired, and the end of all that the server has started, if it does not come."""
        code = self._server.answer(timeout)
        out, err = map(self._said, ("stdout", "stderr"))
        self._kept.cleanup()
        if code is None:
            raise subprocess.TimeoutExpired(self.command, timeout, out, err)
        return subprocess.CompletedProcess(self.command, int(str(code)), out, err)

    def _said(self, name: str) -> str:
        return Path(self._kept.name, name).read_text(encoding="utf-8")


def _ranks(processes: int) -> list[dict[str, str]]:
    """What torchrun tells its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_PORT": port}
    shared |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RESTART_COUNT": "0"}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


warm = Warm()
