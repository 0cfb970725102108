"""How fast the page of `annotate` is in a browser: to its address, to the next picture, and between frames of a stroke.

    python bench/annotate_page.py

Pictures have 4,000 × 3,000 pixels, among 1,000. The next one is turned to once the page has had time to load it ahead, and
counts as shown two frames after its pixels are in the page. A stroke is four seconds of a mouse that tells of eight places a
frame; browsers here draw 60 frames a second at most (16.7 ms).
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from annotate import Took, median, put_pictures
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from stamp_data.annotate.images import Images
from stamp_data.annotate.server import open_server
from stamp_data.annotate.store import Store

SIZE = (4000, 3000)
RUNS, PICTURES = 5, 1000
COMMAND = [sys.executable, "-c", "from stamp_cli.data import main; main()", "annotate"]
TURNS = 6
AHEAD = 2.0  # seconds in which the next picture is loaded
TURN = """async () => {
  const began = performance.now();
  await annotate.go(annotate.session.index + 1);
  await new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown)));
  return performance.now() - began;
}"""
STROKE = """async () => {
  const box = document.querySelector("#stage"), frames = [], { left, top, width, height } = box.getBoundingClientRect();
  box.setPointerCapture = () => null;
  const say = (type, step) => box.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, bubbles: true,
    clientX: left + width * (0.5 + 0.3 * Math.cos(step / 90)), clientY: top + height * (0.5 + 0.3 * Math.sin(step / 37)),
  }));
  annotate.tools.size = 120;
  say("pointerdown", 0);
  for (let frame = 0; frame < 240; frame += 1) {
    frames.push(await new Promise((next) => requestAnimationFrame(next)));
    for (let place = 0; place < 8; place += 1) say("pointermove", 8 * frame + place);
  }
  const began = performance.now();
  say("pointerup", 8 * 240);
  return [frames, performance.now() - began];
}"""


def main() -> None:
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        photos = put_pictures(Path(temporary) / "photos", [(64, 48)] * PICTURES)
        print(f"start-up with {PICTURES:,} pictures, to the address: {median([start(photos) for _ in range(RUNS)])}")
        for number in range(TURNS + 1):
            noise = np.random.default_rng(number).integers(0, 255, (75, 100, 3), np.uint8)
            Image.fromarray(noise).resize(SIZE).save(photos / f"{number:04}.jpg")
        shutil.rmtree(photos / "annotations")
        server = open_server(Images(photos), Store(Path(temporary) / "annotations"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        browse(server.address)
        server.stop()
        thread.join()


def start(photos: Path) -> Took:
    began, used = time.perf_counter(), of_children()
    running = subprocess.Popen([*COMMAND, str(photos)], stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert running.stderr.readline().startswith("http://")
    took = time.perf_counter() - began
    running.kill()
    running.communicate()
    return Took(took, of_children() - used)


def of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def browse(address: str) -> None:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        measure(page)
        browser.close()


def measure(page: Page) -> None:
    size = f"{SIZE[0]:,} × {SIZE[1]:,} pixels"
    frames, lifted = page.evaluate(STROKE)
    gaps = np.diff(frames)
    late = np.mean(gaps > 1.5 * 1000 / 60)
    print(
        f"{size}, between frames of a stroke: median {np.median(gaps):.1f} ms, 95 % {np.percentile(gaps, 95):.1f} ms, "
        f"{late:.1%} late; {lifted:.0f} ms to make it a mask"
    )
    took = []
    for _ in range(TURNS):
        time.sleep(AHEAD)
        took.append(page.evaluate(TURN))
    print(f"{size}, to the next picture: median {statistics.median(took):.0f} ms, at most {max(took):.0f} ms")


if __name__ == "__main__":
    main()
