"""Seconds from a click to SAM's proposal, with and without what is kept of a picture. `annotate_page.py` has the rest.

    python bench/annotate.py                 # a SAM 2 of the smallest released size, with random weights
    python bench/annotate.py sam2.1-tiny/    # the folder of a SAM or a SAM 2

Each answer is asked of the server as the page asks, decoded picture and encoded masks included. Seconds of processor are
told beside those that passed: whoever else is at work on the machine has no part in them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

from stamp_data.annotate.images import Images
from stamp_data.annotate.server import Clicker, Models, open_server
from stamp_data.annotate.store import Store
from stamp_train.predict.opening import pick_device
from stamp_train.predict.pointing import Embeddings, open_clicks

SIZES = {"640 × 480": (640, 480), "20 megapixels": (5472, 3648)}
RUNS = 5


class Took(NamedTuple):
    seconds: float
    processor: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.processor:.2f})"


def main() -> None:
    about = f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores"
    print(f"{about}; seconds that passed (of processor)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = sys.argv[1] if len(sys.argv) > 1 else random_weights(folder / "sam2")
        photos = put_pictures(folder / "photos", list(SIZES.values()))
        for number, name in enumerate(SIZES):
            proposals(photos, weights, folder / "seen", number, name)


def proposals(photos: Path, weights: str, seen: Path, number: int, name: str) -> None:
    """First in a process that nothing has been seen by, then again in one that was started anew."""
    with served(photos, weights, seen) as address:
        fresh = click(address, number)
        again = median([click(address, number) for _ in range(RUNS)])
    with served(photos, weights, seen) as address:
        kept = click(address, number)
    with served(photos, weights, seen) as address:
        urlopen(f"{address}api/open?image={number}").read()  # as when the page shows the picture
        time.sleep(3)  # the one who asks has not pointed at anything yet, and the worker reads what was kept
        ahead = click(address, number)
    print(
        f"{name}, from a click to three proposals: {fresh} without what was kept, {kept} with it after a restart, "
        f"{ahead} once the page has shown the picture, {again} for the next click"
    )


@contextmanager
def served(photos: Path, weights: str, seen: Path) -> Iterator[str]:
    clicks = open_clicks(f"sam={weights}", pick_device("auto"), Embeddings(seen))
    models = Models(clicker=Clicker("sam", clicks, clicks.prepare))
    out = photos / "annotations"
    server = open_server(Images(photos, (out,)), Store(out), models=models)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server.address
    server.stop()
    thread.join()


def click(address: str, number: int) -> Took:
    asked = json.dumps({"tool": "points", "places": [[300, 200]]}).encode()
    began, used = time.perf_counter(), time.process_time()
    with urlopen(Request(f"{address}api/suggest?image={number}", asked)) as answer:
        answer.read()
    return Took(time.perf_counter() - began, time.process_time() - used)


def median(times: list[Took]) -> Took:
    return Took(*(statistics.median(part) for part in zip(*times, strict=True)))


def random_weights(folder: Path) -> str:
    from transformers import Sam2Config, Sam2Model

    Sam2Model(Sam2Config()).save_pretrained(folder)
    return str(folder)


def put_pictures(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for number, size in enumerate(sizes):
        Image.fromarray(noise).resize(size).save(folder / f"{number:04}.jpg")
    return folder


if __name__ == "__main__":
    main()
