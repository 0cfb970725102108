"""How long a command takes to start: `--help` of both programs and of one command of each, wall time and processor time.

python bench/start.py          # some ten seconds
python bench/start.py modules  # what is imported, and which modules take the longest, by `python -X importtime`
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time

ROUNDS = 15
MOST_SECONDS = 0.25
CALLS = (("data", "--help"), ("train", "--help"), ("data", "build", "--help"), ("train", "run", "--help"))
LONGEST = 15


def command(program: str, *arguments: str) -> list[str]:
    """The console script without depending on PATH."""
    return ["-c", f"from stamp_cli.{program} import main; main()", *arguments]


def timed(call: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *command(*call)], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - begun, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def times() -> bool:
    """Print medians; whether all are short enough."""
    timed(CALLS[0])  # once before, or the first one compiles
    found = {call: [timed(call) for _ in range(ROUNDS)] for call in CALLS}
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; medians of {ROUNDS}, s")
    short = True
    for call, taken in found.items():
        wall, processor = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"stamp-{' '.join(call):20} wall {wall:.3f}  processor {processor:.3f}")
        short &= processor < MOST_SECONDS
    return short


def modules() -> None:
    """Print what is imported and what that takes by itself, the longest first."""
    for call in CALLS[:2]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *command(*call)], capture_output=True, text=True, check=True
        )
        lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()[1:]]
        took = sorted(((int(own), name.strip()) for own, _, name in lines if own.strip().isdecimal()), reverse=True)
        print(f"stamp-{' '.join(call)}: {len(took)} modules, {sum(own for own, _ in took) / 1e3:.0f} ms")
        for own, name in took[:LONGEST]:
            print(f"  {own / 1e3:6.1f} ms  {name}")


if __name__ == "__main__":
    if "modules" in sys.argv[1:]:
        modules()
    elif not times():
        sys.exit(f"more than {MOST_SECONDS} s of processor")
