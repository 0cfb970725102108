"""Processes of a run on one node or many: torch's elastic agent, which is what torchrun runs on every node.

Two things differ from torchrun. Where it kills processes 30 seconds after a signal, these may take whatever time the
sender grants to write their checkpoint. And how they ended is told in one line and an exit code, not in a traceback.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import msgspec
import torch
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from stamp_schemas import StampError, UsageFault
from stamp_train.launch import parse_nodes
from stamp_train.launch.signals import ASKING, ENDING, INTERRUPTED, STOPPED, StoppedEarly, deaf

PORT = 29500  # where nodes meet if nothing else is said; the one that torchrun uses
MEET_SECONDS = 900  # that a node waits for the others: images are pulled, file systems mounted
_FOLLOW_SECONDS = 5.0  # that processes have, once one has ended without a checkpoint
_HERE = "localhost:0"
_RUNNING = 1000  # no exit code, and no signal
_NODE_RANKS = ("SLURM_NODEID", "JOB_COMPLETION_INDEX")  # of a Slurm step, of an indexed Job of Kubernetes


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Processes that train together, as one node sees them.

    processes: on each node. least, most: nodes. rendezvous: HOST:PORT where they meet. node_rank: of this node; the one of
    rank 0 is HOST, and if it is None the nodes find out. restarts: how often the processes are started anew after one died.
    """

    processes: int
    least: int = 1
    most: int = 1
    rendezvous: str = _HERE
    node_rank: int | None = None
    restarts: int = 0


def find_group(
    nodes: str = "",
    node_rank: int | None = None,
    rendezvous: str = "",
    processes: int | None = None,
    restarts: int = 0,
    environment: Mapping[str, str] = os.environ,
) -> Group:
    """The group that this node belongs to; what is not given is taken from Slurm, Kubernetes or MASTER_ADDR.

    nodes: `N`, or `LEAST:MOST` for a group that may shrink and grow. rendezvous: HOST or HOST:PORT, the host being the node of
    rank 0. processes: on this node; one per GPU if None, or one. UsageFault: the nodes cannot be told, or not where they meet.
    """
    least, most = parse_nodes(nodes or environment.get("SLURM_STEP_NUM_NODES", "1"))
    if node_rank is None:
        told = (environment.get(name, "") for name in _NODE_RANKS)
        node_rank = next((int(rank) for rank in told if rank.isdecimal()), None)
    if not rendezvous and most > 1:
        rendezvous = _meeting_place(environment)
    if rendezvous and ":" not in rendezvous:
        rendezvous = f"{rendezvous}:{PORT}"
    return Group(
        processes=processes or torch.cuda.device_count() or 1,
        least=least,
        most=most,
        rendezvous=rendezvous or _HERE,
        node_rank=node_rank if rendezvous else None,
        restarts=restarts,
    )


def _meeting_place(environment: Mapping[str, str]) -> str:
    if host := environment.get("MASTER_ADDR"):
        return f"{host}:{environment.get('MASTER_PORT', PORT)}"
    if nodes := environment.get("SLURM_STEP_NODELIST"):
        listed = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            return listed.stdout.split()[0]
    raise UsageFault("where the nodes meet is not known", "give every node the same --rendezvous HOST:PORT")


def launch(arguments: Sequence[str], group: Group) -> int:
    """Run `stamp-train ARGUMENTS…` in the processes of this node until all of them have ended.

    Exit code: 0, or `STOPPED` (or `INTERRUPTED`, for Ctrl-C) for a run that wrote its checkpoint because a signal asked for
    it. StampError: a process died, or the nodes did not meet. KeyboardInterrupt: a second Ctrl-C, or one before there was
    anything to write. StoppedEarly: another signal, before there was anything to write.
    """
    # One thread per process unless the recipe says otherwise: torchrun sets the same.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Processes that are started anew would find the addresses of those that died in a store that the agent had kept:
    # https://github.com/pytorch/pytorch/issues/135712
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    # Or the agent puts handlers of its own in the place of ours while it starts processes, and leaves those that it has.
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGHUP,SIGQUIT"
    logging.disable()  # all that the agent has to say is said below
    alone = group.rendezvous == _HERE
    meeting = RendezvousParameters(
        backend="c10d",
        endpoint=group.rendezvous,
        run_id="stamp-train",
        min_nodes=group.least,
        max_nodes=group.most,
        local_addr="localhost" if alone else None,
        timeout=MEET_SECONDS,
        join_timeout=MEET_SECONDS,
        read_timeout=MEET_SECONDS,
        **({} if group.node_rank is None else {"is_host": group.node_rank == 0}),
    )
    agent = None
    try:
        handler = get_rendezvous_handler(meeting)
        agent = _Agent(
            WorkerSpec(
                role="train",
                local_world_size=group.processes,
                entrypoint=sys.executable,
                args=("-u", "-m", "stamp_cli.train", *arguments),
                rdzv_handler=handler,
                max_restarts=group.restarts,
                local_addr=meeting.local_addr,
            ),
            DefaultLogsSpecs(),
        )
        result = agent.run()
    except SignalException as caught:
        if agent is None or agent.code is None:
            raise (KeyboardInterrupt() if caught.sigval == signal.SIGINT else StoppedEarly(caught.sigval)) from None
        return agent.code
    except RendezvousError as fault:
        if agent is not None and agent.started:
            raise StampError(
                f"the node at {group.rendezvous} is gone: {fault}",
                "--resume auto goes on from the last checkpoint, if there is one",
            ) from None
        raise StampError(
            f"the nodes did not meet at {group.rendezvous}: {fault}",
            "all need the same --rendezvous and --nodes, and node 0 is the one that it names",
        ) from None
    handler.shutdown()
    return _outcome(result)


class _Agent(LocalElasticAgent):
    """Passes on the signals that ask a run to stop, and waits. code: after a signal, of processes that ended as they should."""

    started = False
    code: int | None = None

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:
        heard: list[int] = []
        for number in ENDING:
            signal.signal(number, lambda number, _: heard.append(number))  # or some would be left without us
        with deaf():  # so are they, until they `listen`
            workers: dict[int, Any] = super()._start_workers(worker_group)
        pids = tuple(workers.values())
        self.started = True

        def pass_on(number: int, _: FrameType | None) -> None:
            for again in ASKING:
                signal.signal(again, signal.SIG_IGN)
            signal.signal(signal.SIGINT, end)
            send(number)
            codes = _wait(pids, kill=lambda: send(signal.SIGKILL))
            self.code = next((code for code in (STOPPED, INTERRUPTED) if code in codes), 0 if codes == {0} else None)
            raise SignalException("asked to stop", signal.Signals(number))

        def end(*_: object) -> None:
            send(signal.SIGKILL)
            raise KeyboardInterrupt

        def send(number: int) -> None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

        for number in ENDING:
            signal.signal(number, pass_on)
        if heard:
            pass_on(heard[0], None)
        return workers


def _wait(pids: Sequence[int], kill: Callable[[], None]) -> set[int | None]:
    """How children end that were asked to, each as `_end_of` says; if one ends otherwise, those that wait for it are killed."""
    until = math.inf
    while _RUNNING in (ends := {_end_of(pid) for pid in pids}):
        now = time.monotonic()
        if until == math.inf and ends - {_RUNNING, None, 0, STOPPED, INTERRUPTED}:
            until = now + _FOLLOW_SECONDS
        if now > until:
            kill()
        time.sleep(0.05)
    return ends


def _end_of(pid: int) -> int | None:
    """How a child ended, or that it has not, without taking that from whoever waits for it next; None if that has happened."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return _RUNNING
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _outcome(result: RunResult | None) -> int:
    if result is None or not result.is_failed():
        return 0
    failures = result.failures
    for code in (STOPPED, INTERRUPTED):  # then all had agreed, and the rest was ended
        if any(failure.exitcode == code for failure in failures.values()):
            return code
    rank = min(failures, key=lambda rank: (failures[rank].timestamp, not _struck(failures[rank].exitcode)))
    first = failures[rank]
    where = f"process {rank} of the run, on {socket.gethostname()}"
    if first.exitcode < 0:
        name = signal.Signals(-first.exitcode).name
        raise StampError(
            f"{where} was ended by {name}; so were the others here",
            "--resume auto goes on from the last checkpoint, if there is one; SIGKILL unasked is mostly for want of memory",
        )
    raise StampError(f"{where} ended with exit code {first.exitcode}; what it said is above")


def _struck(code: int) -> bool:
    """Whether a signal ended it that the agent does not send itself: others that fail in that second have but noticed."""
    return code < 0 and code != -signal.SIGTERM
