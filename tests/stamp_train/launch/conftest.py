"""A Slurm of three small scripts and a scheduler, whose nodes are all this machine; and shards to train on."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..runs import TIMEOUT, make_shards, train, write_recipe

# Reads the #SBATCH lines as sbatch does, and leaves the rest to a scheduler of its own.
SBATCH = """
import json, os, shlex, subprocess, sys
here = os.path.dirname(os.path.abspath(__file__))
if os.path.exists(here + "/refuse"):
    sys.exit("sbatch: error: invalid partition specified: nowhere")
assert sys.argv[1] == "--parsable", sys.argv
lines = [line for line in open(sys.argv[2]) if line.startswith("#SBATCH ")]
words = [shlex.split(line.removeprefix("#SBATCH ")) for line in lines]
assert all(len(word) == 1 for word in words), words
options = {name.removeprefix("--"): value for name, _, value in (word[0].partition("=") for word in words)}
json.dump(options, open(here + "/options.json", "w"))
subprocess.Popen([sys.executable, here + "/schedule", sys.argv[2]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL, start_new_session=True)
print("4711;cluster")
"""
# Runs the script, and again for as long as it is requeued.
SCHEDULE = """
import json, os, subprocess, sys
here = os.path.dirname(os.path.abspath(__file__))
options = json.load(open(here + "/options.json"))
nodes = options["nodes"].rpartition("-")[2]
job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": f"node[1-{nodes}]", "SLURM_JOB_NUM_NODES": nodes}
if "cpus-per-task" in options:
    job["SLURM_CPUS_PER_TASK"] = options["cpus-per-task"]
for count in range(5):
    restarts = {"SLURM_RESTART_COUNT": str(count)} if count else {}
    with open(options["output"].replace("%j", "4711").replace("%%", "%"), "ab") as log:
        code = subprocess.run(["bash", sys.argv[1]], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              cwd=options["chdir"], env={**os.environ, **job, **restarts}).returncode
    if not os.path.exists(here + "/requeue"):
        break
    os.remove(here + "/requeue")
with open(here + "/ended.tmp", "w") as ended:
    json.dump({"code": code, "restarts": count}, ended)
os.rename(here + "/ended.tmp", here + "/ended")
"""
# One task per node. Like the real one it ends those that are left some time after the first has ended.
SRUN = """
import os, subprocess, sys, time
here = os.path.dirname(os.path.abspath(__file__))
first = next(place for place, word in enumerate(sys.argv[1:], 1) if not word.startswith("-"))
options = dict(word[2:].partition("=")[::2] for word in sys.argv[1:first])
assert options["kill-on-bad-exit"] == "0"
nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
tasks = [subprocess.Popen(sys.argv[first:], env={**os.environ, "SLURM_NODEID": str(node),
                                                 "SLURM_STEP_NUM_NODES": str(nodes)}) for node in range(nodes)]
with open(here + "/tasks.tmp", "w") as file:
    print(*(task.pid for task in tasks), file=file)
os.rename(here + "/tasks.tmp", here + "/tasks")
until = float("inf")
while any(task.poll() is None for task in tasks) and time.monotonic() < until:
    if until == float("inf") and any(task.poll() is not None for task in tasks):
        until = time.monotonic() + float(options["wait"])
    time.sleep(0.05)
for task in tasks:
    task.kill()
sys.exit(max(code if code >= 0 else 128 - code for code in (task.wait() for task in tasks)))
"""
SCONTROL = """
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
if sys.argv[1:3] == ["show", "hostnames"]:
    print(*["127.0.0.1"] * int(sys.argv[3].removeprefix("node[1-").removesuffix("]")), sep="\\n")
else:
    assert sys.argv[1:] == ["requeue", os.environ["SLURM_JOB_ID"]], sys.argv
    open(here + "/requeue", "w").close()
"""


@dataclass(frozen=True)
class FakeSlurm:
    """Where the scripts are, and what they leave."""

    bin: Path

    def options(self) -> dict[str, str]:
        """What the last job asked for."""
        found: dict[str, str] = json.loads((self.bin / "options.json").read_text(encoding="utf-8"))
        return found

    def tasks(self) -> list[int]:
        """Processes of the step that runs, one per node."""
        return [int(pid) for pid in (self.bin / "tasks").read_text(encoding="utf-8").split()]

    def wait(self) -> dict[str, Any]:
        """The exit code of the script and how often it was requeued, once it has ended."""
        until = time.monotonic() + TIMEOUT
        while not (self.bin / "ended").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        ended: dict[str, Any] = json.loads((self.bin / "ended").read_text(encoding="utf-8"))
        return ended


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """The commands of Slurm, first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("schedule", SCHEDULE), ("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return FakeSlurm(folder)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("launch"))


@pytest.fixture(scope="session")
def undisturbed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages in two processes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = train(write_recipe(folder), shards, folder / "run", processes=2)
    assert done.returncode == 0, done.stderr
    return folder / "run"
