"""Seconds to statistics and to a gallery, against one plain pass of webdataset over the same tars; and the server's.

    python bench/gallery.py

Some 10,000 records are synthesized and built first. The plain pass parses every record and its labels and computes nothing.
The server is asked for one page, for thirty different ones at once, for these again, and is stopped while it is asked.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from signal import SIGINT
from threading import Thread
from urllib.request import urlopen

SCENES, GALLERY, RUNS, PAGES = 3_000, 500, 3, 30
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
        served = serve(shards)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{int(count):,} records, medians of {RUNS}")
    print(f"  statistics of all   {median['statistics']:5.1f} s")
    print(f"  webdataset, parsed  {median['plain']:5.1f} s: {median['statistics'] / median['plain']:.2f}×")
    print(f"  gallery of {GALLERY}      {median['gallery']:5.1f} s, {size:.1f} MB")
    for what, seconds_taken in served.items():
        print(f"  {what:19} {seconds_taken:6.2f} s")


def serve(shards: Path) -> dict[str, float]:
    """Seconds that the server takes for pages of 48 records, asked for before it has made any by itself; and to end."""
    running = subprocess.Popen([*COMMAND, "inspect", str(shards), "--serve"], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    address = next(line.strip() for line in running.stderr if line.startswith("http://"))

    def pages(numbers: Iterable[int]) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(PAGES) as pool:
            list(
                pool.map(lambda number: urlopen(f"{address}api/records?count=48&cursor={48 * number}").read(), numbers)
            )
        return time.perf_counter() - start

    while json.loads(urlopen(f"{address}api/records?count=0").read())["matched"] < 48 * PAGES:
        time.sleep(0.01)
    taken = {"one page": pages([0]), f"{PAGES} pages": pages(range(PAGES)), f"{PAGES} pages again": pages(range(PAGES))}
    asking = Thread(target=lambda: suppressed(pages, range(PAGES, 3 * PAGES)), daemon=True)
    asking.start()
    start = time.perf_counter()
    running.send_signal(SIGINT)
    running.communicate()
    return taken | {"Ctrl-C": time.perf_counter() - start}


def suppressed(function: Callable[..., object], *arguments: object) -> None:
    """A call that may fail, since the server goes away meanwhile."""
    with suppress(OSError, HTTPException):
        function(*arguments)


def timed(command: list[object]) -> tuple[float, str]:
    """Wall seconds of a command, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command}\n{done.stderr}")
    return time.perf_counter() - start, done.stdout


if __name__ == "__main__":
    main()
