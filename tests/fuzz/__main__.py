"""`make fuzz`: a hundred thousand damaged files, every change of a byte that `verify` must find, and docs/fuzz.md of it.

python -m tests.fuzz [INPUTS] [--out FILE]
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from stamp_data.verify import verify_set

from .harness import PART, REFUSED, WHOLE, Reader, Tally, feed
from .sets import copy, made
from .test_fuzz import READERS

PAGE = Path(__file__).parents[2] / "docs/fuzz.md"
CHANGES = 2_000
HEAD = """# Damaged files

Every reader of files from outside is fed damaged ones: bytes changed, cut out, cut off, repeated, numbers at the edge of their
kind, words exchanged for others. What it makes of each is one of three: it is read as if nothing were, read in part (what is
wrong is told in rows of `rejects.jsonl`, in faults of `verify` or in flags of `inspect`), or refused in one line. Anything else
is a bug: a traceback, an hour of waiting, all the memory there is.

`make fuzz` writes this page; a tenth of it runs with the tests. The same inputs come every time.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=int, nargs="?", default=100_000)
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # of what is made again, each time
    share = sum(reader.share for reader in READERS)
    found = {reader: run(reader, -(-given.inputs * reader.share // share)) for reader in READERS}
    missed = unseen_changes(CHANGES)
    given.out.write_text(page(found, missed), encoding="utf-8")
    sys.exit(1 if missed or any(tally.bugs for tally in found.values()) else 0)


def run(reader: Reader, count: int) -> Tally:
    """Feed one reader, and say what came of it."""
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        tally = feed(reader, count, Path(folder))
    print(f"{reader.name}: {count:,} in {time.monotonic() - began:.0f} s, {len(tally.bugs)} bugs", flush=True)
    for number, fault, data in tally.bugs[:1]:
        print(f"case {number}: {data!r}")
        traceback.print_exception(fault)
    return tally


def unseen_changes(count: int) -> int:
    """How many of `count` changes of one byte, over all files of a set alike, `verify` does not see."""
    chance, missed = random.Random(0), 0
    names = sorted(path.name for path in made()[1].iterdir())
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(count):
            path = copy(root, names[number % len(names)])
            data = bytearray(path.read_bytes())
            data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
            path.write_bytes(data)
            missed += path.name not in {fault.shard for fault in verify_set(root, labels=False)}
    print(f"{missed} of {count:,} changes of one byte unseen", flush=True)
    return missed


def page(found: dict[Reader, Tally], missed: int) -> str:
    """The page of the documents."""
    columns = ("reader", "inputs", WHOLE, PART, REFUSED, "bugs", "slowest, ms")
    rows = []
    for reader, tally in found.items():
        counts = [tally.outcomes[outcome] for outcome in (WHOLE, PART, REFUSED)]
        total = sum(counts) + len(tally.bugs)
        rows.append([reader.name, total, *counts, len(tally.bugs), round(1000 * tally.slowest)])
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:-1]), max(row[-1] for row in rows)])
    lines = [f"| {' | '.join(columns)} |", f"| --- |{' ---: |' * (len(columns) - 1)}"]
    lines += [f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in row)} |" for row in rows]
    seen = f"Of {CHANGES:,} changes of one byte, over all files of a set alike, `verify` finds {CHANGES - missed:,}.\n"
    return "\n".join([HEAD, *lines, "", seen])


if __name__ == "__main__":
    main()
