"""Where `stamp-train run` runs: its options, and whoever starts the processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stamp_cli.console import only_for, panels, say

if TYPE_CHECKING:
    from stamp_train.launch.slurm import Job

LAUNCH, SLURM = panels("Launch", "Slurm")

Launcher = Annotated[
    Literal["local", "torchrun", "slurm"],
    LAUNCH(
        help="local: this machine. torchrun: this node of several, given on each of them. slurm: submit a batch job."
    ),
]
Processes = Annotated[
    int | None,
    LAUNCH(
        "--processes", "-p", min=1, help="Processes per node; one if not given, and with torchrun or slurm one per GPU."
    ),
]
Nodes = Annotated[str, LAUNCH(help="N, or LEAST:MOST for a group that may shrink.")]
NodeRank = Annotated[int | None, LAUNCH(min=0, help="torchrun: of this node; Slurm and Kubernetes tell it.")]
Rendezvous = Annotated[
    str,
    LAUNCH(
        metavar="HOST:PORT", help="torchrun: where nodes meet, the host being node 0; else from MASTER_ADDR, or Slurm."
    ),
]
Restarts = Annotated[
    int,
    LAUNCH(
        "--max-restarts", min=0, help="Start all processes anew, from the last checkpoint, so often after one died."
    ),
]
Gpus = Annotated[int | None, SLURM("--gpus-per-node", min=0, help="GPUs to ask for.")]
TimeLimit = Annotated[str, SLURM(help="Limit as sbatch takes it, 12:00:00.")]
Partition = Annotated[str, SLURM(help="Of the cluster.")]
Account = Annotated[str, SLURM(help="Who pays.")]
SlurmOptions = Annotated[
    list[str] | None,
    SLURM("--slurm-option", metavar="KEY=VALUE", help="Any other option of sbatch, for example cpus-per-task=64."),
]
PrintScript = Annotated[bool, SLURM("--print-script", help="Print the batch script, and stop.")]


def refuse_strangers(context: typer.Context, launcher: str) -> None:
    """Stop at an option that says nothing to this launcher, with a UsageFault."""
    only_for(context, "--launcher torchrun or slurm", launcher != "local", "nodes")
    only_for(context, "--launcher torchrun", launcher == "torchrun", "node_rank", "rendezvous")
    slurm = ("gpus_per_node", "time", "partition", "account", "slurm_option", "print_script")
    only_for(context, "--launcher slurm", launcher == "slurm", *slurm)


def arguments(recipe: str, overrides: Sequence[str], out: Path, resume: str, json: bool) -> list[str]:
    """Those of `stamp-train` for a process that is to train."""
    changes = [word for override in overrides for word in ("--set", override)]
    return ["run", recipe, *changes, "--out", str(out), *(["--resume", resume] if resume else []), *["--json"] * json]


def start_here(again: Sequence[str], processes: int, max_restarts: int) -> None:
    """Run processes on this machine; ends the command unless all is well."""
    from stamp_train.launch.torchrun import Group, launch

    _end(launch(again, Group(processes=processes, restarts=max_restarts)))


def start_node(
    again: Sequence[str], nodes: str, node_rank: int | None, rendezvous: str, processes: int | None, max_restarts: int
) -> None:
    """Run the processes of this node of several; ends the command unless all is well."""
    from stamp_train.launch.torchrun import find_group, launch

    group = find_group(nodes, node_rank, rendezvous, processes, max_restarts)
    if group.most > 1:
        say(f"meeting at {group.rendezvous}: {nodes or group.most} nodes with {group.processes} processes each")
    _end(launch(again, group))


def _end(code: int) -> None:
    if code:
        raise typer.Exit(code)


def submit(again: Sequence[str], job: Job, out: Path, print_script: bool) -> None:
    """Print the batch script, or hand it to Slurm."""
    from stamp_train.launch import slurm

    script = slurm.write_script(again, job, out)
    if print_script:
        print(script, end="")
        return
    number = slurm.submit(script, out)
    print(number)
    folder = out / slurm.FOLDER
    say(f"submitted {folder / slurm.SCRIPT}; it writes to {folder / number}.log, and is requeued when it is preempted")
