"""A Slurm of three small scripts, whose array elements are processes of this machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# Options as sbatch takes them; an element whose `kill-INDEX` file is there is killed before it begins, and that once.
SBATCH = """
import os, subprocess, sys, time
here = os.path.dirname(os.path.abspath(__file__))
if os.path.exists(here + "/refuse"):
    sys.exit("sbatch: error: invalid partition specified: nowhere")
given = dict(word[2:].partition("=")[::2] for word in sys.argv[1:-1])
assert "parsable" in given and os.path.exists(sys.argv[-1])
with open(here + "/calls", "a") as calls:
    print(*sys.argv[1:-1], sep="|", file=calls)
first, last = map(int, given["array"].split("-"))
for index in range(first, last + 1):
    log = open(given["output"].replace("%a", str(index)).replace("%%", "%"), "wb")
    kill = here + f"/kill-{index}"
    command = ["sh", sys.argv[-1]] if not os.path.exists(kill) else ["sh", "-c", "kill -9 $$"]
    if os.path.exists(here + "/hang"):
        command = ["sleep", "60"]
    if os.path.exists(kill):
        os.remove(kill)
    job = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                           env={**os.environ, "SLURM_ARRAY_TASK_ID": str(index)})
    with open(here + "/queue", "a") as queue:
        print(job.pid, given["job-name"], file=queue)
print(4711)
"""
COMMON = """
import os, signal, sys
here = os.path.dirname(os.path.abspath(__file__))
name = next(word[7:] for word in sys.argv if word.startswith("--name="))
def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
lines = open(here + "/queue").read().split("\\n")[:-1] if os.path.exists(here + "/queue") else []
pids = [int(line.split()[0]) for line in lines if line.split()[1] == name and alive(int(line.split()[0]))]
"""
SQUEUE = COMMON + "print(*pids, sep='\\n')"
SCANCEL = COMMON + "open(here + '/cancelled', 'a').write('x')\nfor pid in pids: os.killpg(pid, signal.SIGTERM)"


@dataclass(frozen=True)
class FakeSlurm:
    """Where the scripts are, and what they leave and look for."""

    bin: Path

    def calls(self) -> list[list[str]]:
        """Options of every array submitted so far."""
        return [line.split("|") for line in (self.bin / "calls").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """The commands of Slurm, first on the PATH."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("the stand-in finds processes by /proc")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return FakeSlurm(folder)
