"""Seconds to statistics and to a gallery, against one plain pass of webdataset over the same tars.

    python bench/gallery.py

Some 10,000 records are synthesized and built first. The plain pass parses every record and its labels and computes nothing.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENES, GALLERY, RUNS = 3_000, 500, 3
COMMAND = [sys.executable, "-c", "from stamp_cli.data import main; main()"]
PLAIN = """
import sys, webdataset
count = 0
for record in webdataset.WebDataset(sys.argv[1:], shardshuffle=False, empty_check=False).decode(only=["json", "npy"]):
    count += 1
print(count)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        raw, shards, page = folder / "raw", folder / "shards", folder / "page.html"
        timed([*COMMAND, "synth", raw, "--images", SCENES])
        timed([*COMMAND, "build", "all", "--root", raw, "--out", shards])
        tars = sorted(shards.rglob("*.tar"))
        seconds: dict[str, list[float]] = {"statistics": [], "plain": [], "gallery": []}
        for _ in range(RUNS):
            seconds["statistics"].append(timed([*COMMAND, "inspect", shards, "--all", "--json"])[0])
            took, count = timed([sys.executable, "-c", PLAIN, *tars])
            seconds["plain"].append(took)
            seconds["gallery"].append(timed([*COMMAND, "inspect", shards, "--html", page, "--max-images", GALLERY])[0])
        size = page.stat().st_size / 1e6
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{int(count):,} records, medians of {RUNS}")
    print(f"  statistics of all   {median['statistics']:5.1f} s")
    print(f"  webdataset, parsed  {median['plain']:5.1f} s: {median['statistics'] / median['plain']:.2f}×")
    print(f"  gallery of {GALLERY}      {median['gallery']:5.1f} s, {size:.1f} MB")


def timed(command: list[object]) -> tuple[float, str]:
    """Wall seconds of a command, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command}\n{done.stderr}")
    return time.perf_counter() - start, done.stdout


if __name__ == "__main__":
    main()
