"""One element of an array job: `python -m stamp_data.executors.work SHARE INDEX` runs the tasks that are its lot.

The share file is written by whoever submits the array and holds no more than paths: a result is a shard and its receipt.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from stamp_data.build.receipt import Workplace
from stamp_data.executors.local import LocalExecutor
from stamp_data.writing import write_atomic
from stamp_schemas import StampError


def absolute(place: Workplace) -> Workplace:
    """The same place for a process that stands in another folder."""
    roots = tuple(path.absolute() for path in place.roots)
    tokenizer = place.tokenizer.absolute() if place.tokenizer else None
    return Workplace(roots, place.out.absolute(), place.work.absolute(), tokenizer, place.follow_links)


def sweep(place: Workplace) -> None:
    """Remove what workers that were killed have left beside the shards. Only once nobody is at work there."""
    for stale in place.out.glob("*.part"):
        stale.unlink(missing_ok=True)


def write_share(path: Path, lots: list[list[Path]], place: Workplace, processes: int) -> None:
    """Write what the elements of an array need to know; lots: the tasks of each."""
    share = {
        "lots": [[str(task.absolute()) for task in lot] for lot in lots],
        "place": msgspec.to_builtins(place, enc_hook=str),
        "processes": processes,
    }
    write_atomic(path, json.dumps(share).encode())  # not msgspec: names on disk need not be UTF-8


def work(share: Path, index: int) -> int:
    """Run one lot; returns how many of its tasks failed. A task that fails does not keep the others from being run."""
    read = json.loads(share.read_bytes())
    place = msgspec.convert(read["place"], Workplace, dec_hook=lambda kind, value: kind(value))
    executor = LocalExecutor(read["processes"])

    def attempt(task: str) -> bool:
        try:
            list(executor.run([Path(task)], place))
        except (StampError, OSError) as fault:
            print(f"error: {Path(task).stem}: {fault}", flush=True)
            return False
        return True

    try:
        with ThreadPoolExecutor(read["processes"]) as threads:  # each waits for one process of the pool
            return list(threads.map(attempt, read["lots"][index])).count(False)
    finally:
        executor.close()


if __name__ == "__main__":
    sys.exit(1 if work(Path(sys.argv[1]), int(sys.argv[2])) else 0)
