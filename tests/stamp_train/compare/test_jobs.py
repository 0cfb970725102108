"""Commands of a comparison: what they say is heard, and why they ended is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stamp_schemas import StampError
from stamp_train.compare.jobs import run_module


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a module `acts`, which runs the code that it is given."""
    (tmp_path / "acts.py").write_text("import sys\nexec(sys.argv[1])\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "job"


def failure(job: Path, code: str) -> str:
    with pytest.raises(StampError) as fault:
        run_module("acts", [code], job, lambda _: None)
    assert "output.log has all" in fault.value.hint
    return fault.value.message


def test_what_a_command_says_is_passed_on_and_kept(job: Path) -> None:
    said: list[str] = []
    for word in ("one", "two"):
        run_module("acts", [f"import sys; print('{word}', file=sys.stderr); print('not this')"], job, said.append)
    assert said == ["one", "two"]
    assert (job / "output.log").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("sys.stderr.write('error: no set\\nhint: build it\\n'); sys.exit(1)", "no set"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("sys.exit(3)", "exit code 3"),
    ],
)
def test_why_a_command_failed_is_one_line(code: str, told: str, job: Path) -> None:
    assert failure(job, code) == told


SAVES = """
import time
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.3)
    open(sys.argv[2], "w").close()
    sys.exit(130)
"""
LEAVES = """
from pathlib import Path
from stamp_train.compare.jobs import run_module
act = "import time; open(sys.argv[2], 'w').close(); time.sleep(1.5); open(sys.argv[3], 'w').close()"
run_module("acts", [act, {begun}, {ended}], Path({job}), print)
"""


def test_a_signal_is_passed_on_and_raised_when_the_command_has_ended(job: Path) -> None:
    saved = job.parent / "saved"
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run_module("acts", [SAVES, str(saved)], job, lambda _: None)
    assert saved.exists()


def test_a_command_that_was_left_behind_is_waited_for(job: Path) -> None:
    """Its starter is killed; it ends by itself a moment later."""
    begun, ended = job.parent / "begun", job.parent / "ended"
    starter = LEAVES.format(begun=repr(str(begun)), ended=repr(str(ended)), job=repr(str(job)))
    process = subprocess.Popen([sys.executable, "-c", starter])
    while not begun.exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    said: list[str] = []
    run_module("acts", [f"assert __import__('os').path.exists({str(ended)!r})"], job, said.append)
    assert said == ["waiting for a process that a call before left behind"]
