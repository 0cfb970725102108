"""Speed of reading a shard set for training, against webdataset and a dataset of loose files (see docs/stream.md).

    python bench/stream.py        # some three minutes

Every case runs in a process of its own, in turn, several times over; medians are printed, and ratios of cases that were
measured side by side. All read the same pictures from a warm page cache; items are counted, not used. What runs in one
thread is timed by its processor seconds, which neighbours on the machine disturb least, the rest by the clock.
"""

from __future__ import annotations

import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rawset import make_refer

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.pixels import decode_picture
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.stream.loader import LoaderOptions, StreamLoader
from stamp_train.stream.mixture import Mixture
from stamp_train.stream.plan import Plan, PlanOptions

HERE = Path(__file__).parent
IMAGES, TARGETS, EXPRESSIONS, PASSES = 1_500, 3, 3, 2
ROUNDS, SECONDS, WORKERS = 5, 3.0, 2
Case = Callable[[Path], Iterator[int]]
"""Endless items of a folder made by `prepare`; each is told as the dialogues that it holds."""


def main() -> None:
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        size = prepare(Path(folder))
        print(
            f"{IMAGES:,} records of 640×480 with {TARGETS * EXPRESSIONS * PASSES} dialogues each, {size / 1e6:.0f} MB"
        )
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
        for _ in range(ROUNDS):
            for name in CASES:
                found[name].append(measured(name, folder))
    for name, rates in found.items():
        items, dialogues = ([rate[column] for rate in rates] for column in (0, 1))
        print(
            f"  {name:32} {statistics.median(items):9,.0f} records/s (of {ROUNDS}: {min(items):,.0f} to {max(items):,.0f})"
            f"  {statistics.median(dialogues):9,.0f} dialogues/s"
        )
    for ours, theirs, column, what in RATIOS:
        ratios = [one[column] / other[column] for one, other in zip(found[ours], found[theirs], strict=True)]
        print(f"  {what}: {statistics.median(ratios):.2f}× (of {ROUNDS}: {min(ratios):.2f} to {max(ratios):.2f})")


def prepare(folder: Path) -> int:
    """A raw set, the shard set and the loose files made of it; returns the bytes of the shards."""
    raw = folder / "raw"
    make_refer(raw, name="refcoco", images=IMAGES, targets=TARGETS, expressions=EXPRESSIONS)
    job = Job(("refcoco",), raw, folder / "shards", passes=PASSES)
    for _ in run_job(job, LocalExecutor(WORKERS), lambda *_: None):
        pass
    rival = [sys.executable, str(HERE / "plain_converter.py"), str(raw), "refcoco", str(folder / "loose"), str(WORKERS)]
    subprocess.run(rival, check=True, capture_output=True)
    return sum(path.stat().st_size for path in tars(folder))


def tars(folder: Path) -> list[Path]:
    return sorted((folder / "shards/refcoco-unc/train").glob("*.tar"))


def measured(name: str, folder: str) -> tuple[float, float]:
    """(records, dialogues) per second of one case, in a new process."""
    command = [sys.executable, __file__, name, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}\n{done.stderr}")
    records, dialogues = json.loads(done.stdout)
    return records, dialogues


def run_case(name: str, folder: Path) -> None:
    """Measure one case here: a second to warm up, then some seconds."""
    items = CASES[name](folder)
    clock = time.process_time if name.startswith("raw") else time.perf_counter
    until = clock() + 1.0
    while clock() < until:
        next(items)
    records = dialogues = 0
    start = clock()
    while (spent := clock() - start) < SECONDS:
        for one in islice(items, 16):
            records += 1
            dialogues += one
    print(json.dumps([records / spent, dialogues / spent]))


# --- ours ------------------------------------------------------------------------------------------------------------


def endless(folder: Path, group: int) -> Plan:
    options = PlanOptions(batch=96 * group, dialogues_per_image=group)
    return Plan([str(folder / "shards/refcoco-unc/train")], Mixture(weights=(1,)), options)


def raw_ours(folder: Path) -> Iterator[int]:
    """Members' bytes, in the shuffled order of the plan, every one checked by its hash; one record a group."""
    plan = endless(folder, TARGETS * EXPRESSIONS * PASSES)
    position = 0
    while True:
        batch = plan.draw(position)
        position += batch.dialogues
        for group in batch.groups:
            plan.sets[group.source].raw(group.shard, group.row)
            yield len(group.dialogues)


def decoded_ours(folder: Path) -> Iterator[int]:
    """Pixels, parsed record and labels, by two threads; one record a group."""
    plan = endless(folder, TARGETS * EXPRESSIONS * PASSES)

    def read(place: tuple[int, int, int]) -> int:
        source, shard, row = place
        parsed = plan.sets[source].parsed(shard, row)
        return len(parsed.record.dialogues) * (np.asarray(decode_picture(parsed.image)).ndim == 3)

    def places() -> Iterator[tuple[int, int, int]]:
        position = 0
        while True:
            batch = plan.draw(position)
            position += batch.dialogues
            yield from ((group.source, group.shard, group.row) for group in batch.groups)

    with ThreadPoolExecutor(WORKERS) as pool:
        wanted = places()
        ahead = [pool.submit(read, place) for place in islice(wanted, 32)]
        while True:
            yield ahead.pop(0).result()
            ahead.append(pool.submit(read, next(wanted)))


def loader_ours(folder: Path) -> Iterator[int]:
    """The loader as training uses it, four dialogues a picture, with all but the model's own processor."""
    import torch

    def nothing(image: Image.Image) -> tuple[torch.Tensor, tuple[int, int, int]]:
        return torch.from_numpy(np.asarray(image)[:1].copy()), (1, 56, 74)

    for step in StreamLoader(
        endless(folder, 4), nothing, StampSettings(head="patch").method(), LoaderOptions(threads=WORKERS)
    ):
        for pack in step.packs:
            yield from (len(example.dialogues) for example in pack)


# --- the rivals ------------------------------------------------------------------------------------------------------


def raw_webdataset(folder: Path) -> Iterator[int]:
    """Plain webdataset over the same tars, one after another: members' bytes."""
    import webdataset

    while True:
        for sample in webdataset.WebDataset([str(path) for path in tars(folder)], shardshuffle=False):
            yield len(sample) > 0


def read_labels(data: bytes) -> Any:
    return np.load(io.BytesIO(data))


def decoded_webdataset(folder: Path) -> Iterator[int]:
    """webdataset's own decoding (Pillow, json, numpy), in two worker processes of torch's loader."""
    import torch
    import webdataset

    dataset = webdataset.WebDataset(
        [str(path) for path in tars(folder)] * 2, shardshuffle=False, empty_check=False
    ).decode("rgb8", webdataset.handle_extension("labels.npy", read_labels))
    while True:
        for sample in torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=WORKERS):
            yield len(sample["json"]["dialogues"])


class LooseFiles:
    """The published style: a list of items, one per sentence; each opens its picture and its mask."""

    def __init__(self, folder: Path) -> None:
        self.items = [
            item for path in sorted(folder.glob("*.json")) for item in json.loads(path.read_text(encoding="utf-8"))
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> tuple[Any, Any, Any]:
        item = self.items[place]
        image = np.asarray(Image.open(item["image"]).convert("RGB"))
        return image, np.asarray(Image.open(item["mask"])), item["messages"]


def loose_files(folder: Path) -> Iterator[int]:
    """A map-style dataset of loose files, shuffled, in two worker processes of torch's loader."""
    import torch

    dataset: Any = LooseFiles(folder / "loose")
    while True:
        for _ in torch.utils.data.DataLoader(dataset, batch_size=None, shuffle=True, num_workers=WORKERS):
            yield 1


CASES: dict[str, Case] = {
    "raw, ours": raw_ours,
    "raw, webdataset": raw_webdataset,
    "decoded, ours": decoded_ours,
    "decoded, webdataset": decoded_webdataset,
    "examples, ours": loader_ours,
    "examples, loose files": loose_files,
}
RATIOS = [
    ("raw, ours", "raw, webdataset", 0, "raw records, one core, against webdataset"),
    ("decoded, ours", "decoded, webdataset", 0, "decoded records, 2 threads against webdataset's 2 workers"),
    ("examples, ours", "examples, loose files", 1, "dialogues, 2 threads against 2 workers on loose files"),
    ("examples, ours", "examples, loose files", 0, "pictures opened, likewise"),
]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_case(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
