"""A run as a batch job of Slurm: one launcher per node, requeued for as long as it is stopped before it is done.

Slurm tells the processes of the job step two minutes before the time limit, or when it wants the nodes back. They write
a checkpoint and end with an exit code of their own, upon which the script has the job requeued: it is the same job, with
the same script and log, that goes on later, on the same number of nodes or on others.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from stamp_schemas import StampError, UsageFault
from stamp_train.launch.signals import STOPPED

FOLDER, SCRIPT = "slurm", "run.sh"  # in the run folder, beside the logs
_OURS = {"ntasks", "ntasks-per-node", "array", "wrap", "nodes", "gpus-per-node", "time", "partition", "account"}
_BODY = """\
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${{hosts%%$'\\n'*}}  # not `| head`, which may close the pipe before scontrol has written it all
port=$((20000 + SLURM_JOB_ID % 20000))
# One launcher per node. Once one has ended the others get {wait} seconds; none is killed over another's exit code.
srun --kill-on-bad-exit=0 --wait={wait} ${{SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}} \\
    {command} \\
    --launcher torchrun --nodes "$SLURM_JOB_NUM_NODES" --rendezvous "$head:$port" \\
    --processes {processes} --max-restarts {restarts}
code=$?
if [ "$code" -eq {stopped} ]; then  # asked to stop, and a checkpoint is written
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""
_WAIT_SECONDS = 30


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What sbatch is asked for.

    nodes: at least and at most. gpus, processes: per node; one process per GPU if None, or one. restarts: of the processes
    within one job. time, partition, account: left to the site if empty. options: further long options of sbatch, which win
    over those that the script has by itself. cores: that a process keeps busy, asked for unless the options say how many there
    are; 0 = left to the site, which often gives one.
    """

    nodes: tuple[int, int] = (1, 1)
    gpus: int = 0
    processes: int | None = None
    restarts: int = 0
    time: str = ""
    partition: str = ""
    account: str = ""
    options: Mapping[str, str] = {}
    cores: int = 0


def parse_options(words: Sequence[str]) -> dict[str, str]:
    """Options of sbatch from `key=value`, with or without dashes; `exclusive` alone is one without a value.

    UsageFault: one that the script depends on, or that has an option of its own here.
    """
    options = {}
    for word in words:
        name, _, value = word.lstrip("-").partition("=")
        if not name or name in _OURS or "\n" in word:
            raise UsageFault(f"--slurm-option {word!r} cannot be given", "see --nodes, --gpus-per-node, --time, …")
        options[name] = value
    return options


def write_script(arguments: Sequence[str], job: Job, out: Path) -> str:
    """The batch script. arguments: of `stamp-train`, without those that say how it is launched. out: run folder."""
    least, most = job.nodes
    processes = job.processes or job.gpus or 1
    told = job.options.keys() & {"cpus-per-task", "cpus-per-gpu", "exclusive"}
    options = {
        "job-name": f"stamp-{out.name}",
        "nodes": f"{least}-{most}" if least < most else f"{most}",
        "ntasks-per-node": "1",
        **({"gpus-per-node": str(job.gpus)} if job.gpus else {}),
        **({"cpus-per-task": str(processes * job.cores)} if job.cores and not told else {}),
        **{name: getattr(job, name) for name in ("time", "partition", "account") if getattr(job, name)},
        "chdir": str(Path.cwd()),
        "output": str(out.absolute() / FOLDER).replace("%", "%%") + "/%j.log",
        "open-mode": "append",
        "requeue": "",
        "signal": "USR1@120",
        **job.options,
    }
    lines = [f"#SBATCH --{name}" + (f"={shlex.quote(value)}" if value else "") for name, value in options.items()]
    body = _BODY.format(
        command=shlex.join([sys.executable, "-u", "-m", "stamp_cli.train", *arguments]),
        processes=processes,
        restarts=job.restarts,
        stopped=STOPPED,
        wait=_WAIT_SECONDS,
    )
    return "\n".join(["#!/bin/bash", *lines, "", body])


def submit(script: str, out: Path) -> str:
    """Write the script into the run folder and hand it to sbatch; the number of the job.

    UsageFault: there is no Slurm here. StampError: sbatch refuses.
    """
    if not shutil.which("sbatch"):
        raise UsageFault(
            "--launcher slurm needs sbatch, and there is none here", "--print-script prints what it would get"
        )
    path = out / FOLDER / SCRIPT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(script))
    done = subprocess.run(
        ["sbatch", "--parsable", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StampError(
            f"sbatch failed: {reason}", "--partition, --account, --time and --slurm-option are passed on to it"
        )
    return done.stdout.strip().partition(";")[0]
