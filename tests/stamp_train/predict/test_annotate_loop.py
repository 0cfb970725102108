"""The walk of docs/annotate.md as it is typed there, at small size: annotate, build, train, propose on others, accept or fix.

Who annotates here knows the truth of simple scenes, does on the page's own addresses what the page would do, and accepts what
overlaps with the truth by half.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from stamp_data import rle
from stamp_schemas import RLE

from ...warm import warm
from .chatting import save_checkpoint

SIDE = 168  # pixels: 6 × 6 patches
SCENES = 20  # that are annotated by hand, and as many that a model proposes for
GOOD = 0.5  # IoU
PHRASE = "the disc"
SMALL = ("--min-tokens", "36", "--max-tokens", "36")  # all that is added to what the page of the docs says
PATIENCE = 900  # seconds
RECIPE = """
about: a few annotated scenes
model: {start: base, precision: float32}
data: {root: shards, min_tokens: 36, max_tokens: 36, threads: 1}
batch: {dialogues: 10, dialogues_per_image: 1, pack_tokens: 2400}
optimizer: {learning_rate: 4.0e-3}
stages: [{name: own, steps: 80, sets: [{set: annotations/train}]}]
saving: {every: 1000, keep: 1}
threads: 1
"""


def walk() -> list[list[str]]:
    """The commands of the section, in their order."""
    text = (Path(__file__).parents[3] / "docs/annotate.md").read_text(encoding="utf-8")
    section = re.search(r"^## The loop\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    found = [shlex.split(line, comments=True) for line in section[1].splitlines() if line.startswith("stamp-")]
    assert len(found) == 7, "the test below has a step for each of them"
    return found


def put_scenes(folder: Path) -> dict[str, RLE]:
    """Pictures of a bright disc on dark noise, and the mask of each by its name."""
    folder.mkdir()
    random, truth = np.random.default_rng(0), {}
    ys, xs = np.mgrid[:SIDE, :SIDE]
    for number in range(2 * SCENES):
        x, y, radius = *random.uniform(50, SIDE - 50, 2), random.uniform(30, 45)
        disc = np.hypot(xs - x, ys - y) < radius
        pixels = random.integers(0, 60, (SIDE, SIDE, 3)) + np.where(disc[:, :, None], 180, 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
        truth[f"{number:02}.png"] = rle.encode(disc.astype(np.uint8))
    return truth


def run(command: list[str], folder: Path) -> str:
    done = warm.run(*command, cwd=folder, timeout=PATIENCE)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


class Page:
    """What the page asks of the server."""

    def __init__(self, address: str) -> None:
        self._there = urlsplit(address)
        self.names = [row["name"] for row in self.ask("api/list")["images"]]

    def ask(self, place: str, value: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._there.port, timeout=PATIENCE)
        body = None if value is None else json.dumps(value)
        connection.request("GET" if value is None else "POST", f"{self._there.path}{place}", body)
        answer = connection.getresponse()
        held = answer.read()
        assert answer.status == 200, (place, held)
        return json.loads(held)

    def accept(self, number: int, mask: RLE, proposal: dict[str, Any] | None = None) -> None:
        """Say the phrase, draw its mask or have it proposed, and accept it."""
        opened = self.ask(f"api/open?image={number}")
        drawn = {"id": "m1", "rle": {"size": mask.size, "counts": mask.counts}, "made": {"seconds": 2}}
        phrase = {"id": "p1", "text": PHRASE, "masks": ["m1"], "status": "accepted"}
        change = {"phrases": {"p1": phrase}, "masks": {"m1": {**drawn, "proposal": proposal}}}
        self.ask(f"api/edit?image={number}", {"revision": opened["revision"], "change": change})


@contextmanager
def page(command: list[str], folder: Path) -> Iterator[Page]:
    """The page that a command serves, until it is interrupted."""
    running = warm.start(*command, cwd=folder)
    until = time.monotonic() + PATIENCE
    while (address := re.search(r"^http://\S+$", running.told, re.MULTILINE)) is None:
        assert not running.ended and time.monotonic() < until, running.told
        time.sleep(0.05)
    yield Page(address[0])
    os.kill(running.pids[0], signal.SIGINT)
    running.wait()


def decide(shown: Page, truth: dict[str, RLE]) -> None:
    """Ask the model for the later pictures, and accept its masks, or fix them."""
    for number in range(SCENES, 2 * SCENES):
        true = truth[shown.names[number]]
        answer = shown.ask(f"api/propose?image={number}", {"phrases": [PHRASE]})
        (found,) = answer["masks"]
        if found is None:
            shown.accept(number, true)
            continue
        proposed = RLE(tuple(found["size"]), found["counts"])
        good = rle.iou(proposed, true) >= GOOD
        shown.accept(number, proposed if good else true, {"model": answer["model"], "rle": found})


def rate(folder: str, stats: dict[str, Any]) -> tuple[int, int]:
    """Masks that were accepted unchanged, and that were fixed, of the only model; it may have drawn none at all."""
    (told,) = stats["folders"]
    assert told["folder"] == folder and told["statuses"] == {"accepted": told["images"]}
    found = list(told["proposals"].values())
    assert len(found) <= 1 and all(one["rejected"] == one["open"] == 0 for one in found)
    return sum(one["unchanged"] for one in found), sum(one["fixed"] for one in found)


@pytest.mark.slow
def test_the_walk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand, with_base, stats_before, build, train, with_run, stats_after = walk()
    truth = put_scenes(tmp_path / "photos")
    save_checkpoint(tmp_path / "base")
    (tmp_path / "own.yaml").write_text(RECIPE, encoding="utf-8")
    with page(by_hand, tmp_path) as shown:
        for number in range(SCENES):
            shown.accept(number, truth[shown.names[number]])
    with page(with_base, tmp_path) as shown:
        decide(shown, truth)
    before = run(stats_before, tmp_path)
    assert f"{SCENES} records" in run([*build, *SMALL], tmp_path)
    run(train, tmp_path)
    with page(with_run, tmp_path) as shown:
        decide(shown, truth)
    after = run(stats_after, tmp_path)
    was, now = (rate(line[-1], json.loads(run([*line, "--json"], tmp_path))) for line in (stats_before, stats_after))
    assert sum(now) > 0 and now[0] > was[0]
    with capsys.disabled():
        for name, told, (unchanged, fixed) in (("before", before, was), ("after", after, now)):
            rates = [line.strip() for line in told.splitlines() if "accepted unchanged" in line]
            print(
                f"\n{name}: {unchanged} of {SCENES} masks accepted as they were proposed, {fixed} fixed; {rates}",
                end="",
            )
