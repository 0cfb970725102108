"""Tasks as an array job of Slurm, followed from the machine that submits it.

Receipts on the shared file system are the only truth about what is done; `squeue` is asked merely whether the array has
left. Whatever is missing then is submitted again, a few times. An array is known by its name, which comes from the
folder that is built: so one that a killed build left behind is found, and ended, by the next build of that folder.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from blake3 import blake3

from stamp_data.build.receipt import Receipt, Workplace, read_receipt, receipt_path
from stamp_data.executors import Executor
from stamp_data.executors.work import absolute, sweep, write_share
from stamp_schemas import StampError, UsageFault

_OURS = {"array", "job-name", "output", "error", "parsable", "wrap", "wait", "chdir", "ntasks", "open-mode"}
_ALIASES = {"cpus": "cpus-per-task", "p": "partition", "t": "time", "A": "account", "q": "qos", "c": "cpus-per-task"}
_GIVE_UP = 60  # times that squeue may fail in a row
_END_SECONDS = 60.0  # given to elements that were cancelled: Slurm kills what has not gone after KillWait, 30 s


class Slurm(msgspec.Struct, frozen=True, kw_only=True):
    """How the array is submitted.

    options: of sbatch, passed on as they are. cpus: cores, and processes, per element. array_size: most elements of one
    array, MaxArraySize - 1 of the cluster. tries: how often a task is submitted before the build fails. poll: seconds
    between two looks. settle: seconds that a receipt may take to show here after its job has ended.
    """

    options: tuple[str, ...] = ()
    cpus: int = 1
    array_size: int = 1000
    tries: int = 3
    poll: float = 5.0
    settle: float = 30.0


def parse_slurm(text: str) -> Slurm:
    """`partition=cpu time=02:00:00 cpus=4 exclusive`: options of sbatch, with or without dashes, and those of `Slurm`."""
    own: dict[str, str] = {}
    options = []
    try:
        words = shlex.split(text)
    except ValueError as fault:
        raise UsageFault(f"--slurm {text!r}: {fault}") from None
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        name = _ALIASES.get(name, name)
        if not name or name in _OURS:
            raise UsageFault(f"--slurm {word!r} cannot be given", "stamp-data sets it itself")
        if name == "cpus-per-task":
            own["cpus"] = value
        elif name.replace("-", "_") in Slurm.__struct_fields__[2:]:
            own[name.replace("-", "_")] = value
        else:
            options.append(f"--{name}{equals}{value}")
    try:
        slurm = msgspec.convert({**own, "options": tuple(options)}, Slurm, strict=False)
    except msgspec.ValidationError as fault:
        raise UsageFault(f"--slurm {text!r}: {fault}") from None
    if min(slurm.cpus, slurm.array_size, slurm.tries) < 1 or min(slurm.poll, slurm.settle) < 0:
        raise UsageFault(f"--slurm {text!r}: cpus, array-size and tries are 1 or more, poll and settle 0 or more")
    return slurm


class SlurmExecutor(Executor):
    """Submits an array, follows it to its end, and again what is missing then.

    workers: most elements at a time; the tasks are dealt out evenly among them. As many as fit an array if None.
    """

    def __init__(self, workers: int | None = None, slurm: Slurm | None = None) -> None:
        if not shutil.which("sbatch"):
            raise UsageFault(
                "--executor slurm needs sbatch, and there is none here", "run on a login node of the cluster"
            )
        self.slurm = slurm or Slurm()
        self.elements = min(workers or self.slurm.array_size, self.slurm.array_size)
        self._name = ""  # of the array that may be in the queue

    def run(self, tasks: Iterable[Path], place: Workplace) -> Iterator[Receipt]:
        todo, there = [task.absolute() for task in tasks], absolute(place)
        if not todo:
            return
        folder = there.work / "slurm"
        self._name = f"stamp-data-{blake3(os.fsencode(there.work.resolve())).hexdigest(8)}"
        try:
            self._end()  # an array of a build that was killed
            shutil.rmtree(folder, ignore_errors=True)
            for task in todo:  # the build found that these receipts, if any, are worth nothing
                receipt_path(there.work, task.stem).unlink(missing_ok=True)
            for number in range(self.slurm.tries):
                count = min(len(todo), self.elements)
                lots = [todo[index::count] for index in range(count)]
                array = folder / f"try-{number}"
                self._submit(array, lots, there)
                missing = set(todo)
                yield from self._follow(missing, there.work)
                if not missing:
                    return
                todo = [task for task in todo if task in missing]
            raise self._failure(array, lots, missing)
        finally:  # also where the caller gives up: it goes on to unlock the folder, so nobody may be at work in it
            self.close()
            sweep(there)

    def _submit(self, array: Path, lots: list[list[Path]], place: Workplace) -> None:
        array.mkdir(parents=True)
        share, script = array / "share.json", array / "run.sh"
        write_share(share, lots, place, self.slurm.cpus)
        python = [sys.executable, "-P", "-m", "stamp_data.executors.work", str(share)]
        script.write_bytes(
            b"#!/bin/sh\nexport OPENBLAS_NUM_THREADS=1\n"  # the processes are the parallelism
            + os.fsencode(f'exec {shlex.join(python)} "$SLURM_ARRAY_TASK_ID"\n')
        )
        # On the command line, not in #SBATCH lines, whose quoting differs between versions; %% is a literal %.
        log = f"--output={str(array).replace('%', '%%')}/%a.log"
        ours = [f"--job-name={self._name}", f"--array=0-{len(lots) - 1}", f"--cpus-per-task={self.slurm.cpus}", log]
        done = _call("sbatch", "--parsable", "--ntasks=1", *ours, *self.slurm.options, str(script))
        if done.returncode:
            raise StampError(f"sbatch failed: {_last_line(done.stderr)}", "--slurm passes options on to sbatch")

    def _follow(self, missing: set[Path], work: Path) -> Iterator[Receipt]:
        """Receipts as they appear, until there are none to wait for or the array is gone; takes them off `missing`."""
        left_at = float("inf")
        faults = 0
        while missing and time.monotonic() < left_at + self.slurm.settle:
            time.sleep(self.slurm.poll)
            if left_at == float("inf"):  # asked before looking: what a job that is gone has written is there to be seen
                queue = self._queue()
                faults = 0 if queue.returncode == 0 else faults + 1
                if faults > _GIVE_UP:
                    raise StampError(f"squeue failed: {_last_line(queue.stderr)}", "the same command goes on from here")
                if queue.returncode == 0 and not queue.stdout.strip():
                    left_at = time.monotonic()
            names = set(os.listdir(work))  # noqa: PTH208 - a listing is fresh on NFS, where a look-up may be a minute old
            for task in sorted(task for task in missing if receipt_path(work, task.stem).name in names):
                missing.discard(task)
                yield read_receipt(receipt_path(work, task.stem))

    def _failure(self, array: Path, lots: list[list[Path]], missing: set[Path]) -> StampError:
        failed = [
            (task.stem, array / f"{index}.log") for index, lot in enumerate(lots) for task in lot if task in missing
        ]
        shard, log = failed[0]
        text = log.read_text(errors="replace") if log.exists() else ""
        lines = [line for line in text.splitlines() if shard in line] or text.splitlines()
        says = f": {lines[-1].removeprefix(f'error: {shard}: ')}" if lines else ", which is empty: the job never began"
        more = "".join(f"; {name}, see {path}" for name, path in failed[1:5])
        rest = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        return StampError(
            f"{shard} was not made in {self.slurm.tries} tries, see {log}{says}{more}{rest}",
            "the same command goes on from here",
        )

    def _queue(self) -> subprocess.CompletedProcess[str]:
        return _call("squeue", "--noheader", f"--name={self._name}", "--format=%i")

    def _end(self) -> None:
        """Cancel what the queue still holds of the array, and wait until it has let go of the folder."""
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until:
            queue = self._queue()
            if queue.returncode == 0 and not queue.stdout.strip():
                return
            _call("scancel", f"--name={self._name}")
            time.sleep(min(self.slurm.poll, 1))

    def close(self) -> None:
        if self._name:
            self._end()
            self._name = ""


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of Slurm's, spared the Ctrl-C that is meant for us."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", start_new_session=True, check=False
        )
    except FileNotFoundError:
        raise StampError(f"{command[0]} is not there", "run on a login node of the cluster") from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
