"""The served gallery of some 10,000 records in Chromium: the first screen, filters, and frames while one scrolls.

    python bench/gallery_page.py [SHARDS]

Without SHARDS, 3,000 scenes are synthesized and built first. A frame is the time between two that the browser shows.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

SCENES = 3_000
COMMAND = [sys.executable, "-c", "from stamp_cli.data import main; main()"]
SEEN = "[...document.querySelectorAll('.card img')].slice(0, 4).some((image) => image.complete && image.naturalWidth)"
COUNTED = "document.getElementById('count').textContent"
FRAMES = """(steps) => new Promise((done) => {
  const times = [], begin = performance.now();
  let last = begin;
  const next = (now) => {
    times.push(now - last);
    last = now;
    window.scrollBy(0, 120);
    if (times.length < steps) requestAnimationFrame(next); else done(times.slice(1));
  };
  requestAnimationFrame(next);
})"""
ALL = "new Promise((done) => { const t = setInterval(() => { window.scrollTo(0, 1e9); " + (
    "if (document.querySelectorAll('.page').length * 60 >= MOST) { clearInterval(t); done(); } }, 20); })"
)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        shards = Path(sys.argv[1]) if len(sys.argv) > 1 else made(Path(temporary))
        with served(shards) as address, sync_playwright() as driver:
            path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.set_default_timeout(120_000)
            load = os.getloadavg()[0]
            print(
                f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}"
            )
            measure(page, address)
            browser.close()


def measure(page: Any, address: str) -> None:
    start = time.perf_counter()
    page.goto(address)
    wait(page, SEEN)
    tell("first screen", start)
    wait(page, f"!{COUNTED}.includes('reading')")
    tell("all records read", start)
    print(f"  {page.evaluate(COUNTED)}")
    for name, act in (
        ("text", lambda: page.fill("#search", "red")),
        ("text away", lambda: page.fill("#search", "")),
        ("kind", lambda: page.select_option("#filter-kind", "single")),
        ("order", lambda: page.select_option("#filter-sort", "-area")),
        ("all again", lambda: page.click("#reset")),
    ):
        page.evaluate("document.getElementById('figures').firstChild.dataset.old = '1'")
        page.evaluate("document.querySelector('.card').dataset.old = '1'")
        start = time.perf_counter()
        act()
        wait(page, "!document.querySelector('.card[data-old]')")
        tell(f"{name}: cards", start)
        wait(page, "!document.querySelector('#figures > [data-old]')")
        tell(f"{name}: statistics", start)
    page.evaluate("document.getElementById('stats').open = false")
    frames("the first 200 frames", page.evaluate(FRAMES, 200))
    most = min(10_000, int(page.evaluate(COUNTED).split()[0].replace(",", "")))
    start = time.perf_counter()
    page.evaluate(ALL.replace("MOST", str(most)))
    tell(f"down to card {most:,}", start)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight / 2)")
    page.wait_for_timeout(500)
    frames("200 frames in the middle", page.evaluate(FRAMES, 200))
    start = time.perf_counter()
    page.keyboard.press("o")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tell("other overlay", start)
    start = time.perf_counter()
    page.click("#filter-flagged")
    wait(page, f"{COUNTED}.includes(' of ')")
    tell("filter", start)


def wait(page: Any, condition: str) -> None:
    while not page.evaluate(condition):
        page.wait_for_timeout(5)


def tell(what: str, start: float) -> None:
    print(f"  {what:26} {time.perf_counter() - start:6.2f} s", flush=True)


def frames(what: str, times: list[float]) -> None:
    late = sum(one > 50 for one in times)
    high = sorted(times)[len(times) * 95 // 100]
    print(
        f"  {what:26} median {statistics.median(times):.0f} ms, 95th percentile {high:.0f} ms, "
        f"longest {max(times):.0f} ms, {late} of {len(times)} above 50 ms",
        flush=True,
    )


def made(folder: Path) -> Path:
    for command in (
        ["synth", folder / "raw", "--images", SCENES],
        ["build", "all", "--root", folder / "raw", "--out", folder / "shards"],
    ):
        subprocess.run([*COMMAND, *map(str, command)], check=True, capture_output=True)
    return folder / "shards"


@contextmanager
def served(shards: Path) -> Iterator[str]:
    running = subprocess.Popen([*COMMAND, "inspect", str(shards), "--serve"], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        yield next(line.strip() for line in running.stderr if line.startswith("http://"))
    finally:
        running.terminate()
        running.wait()


if __name__ == "__main__":
    main()
