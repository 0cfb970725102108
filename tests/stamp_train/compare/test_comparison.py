"""Two methods trained and scored by the command itself: killed on the way, one of them at fault, and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stamp_train.compare.variants import available

from ...warm import warm
from ..runs import FORKING, log_of, make_shards, train

RECIPE = """
about: some steps on a few small scenes
model: {preset: tiny, precision: float32}
data: {min_tokens: 4, max_tokens: 16, threads: 1}
batch: {dialogues: 8, dialogues_per_image: 2, pack_tokens: 900}
optimizer: {learning_rate: 2.0e-3}
stages:
  - {name: only, steps: 8, sets: [{set: refcoco-unc/train}, {set: grefcoco-unc/train}]}
evaluation: {sets: [refcoco-unc/val, grefcoco-unc/val], every: 4, records: 2, images: 0}
saving: {every: 2}
threads: 1
"""
METHODS = ("stamp-fine", "embedding-dot")
TIMEOUT = 240  # seconds

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page asks for elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - of the parser
        self.asked += [
            value or "" for name, value in attrs if name in ("src", "href") and value not in ("data:,", "#content")
        ]


def call(world: Path, *more: str) -> list[str]:
    arguments = ["compare", *METHODS, "--recipe", str(world / "small.yaml"), "--set", f"data.root={world / 'shards'}"]
    small = ["--seeds", "1", "--max-new-tokens", "4", "--timed", "2", "--scenes", "2"]
    return [*arguments, *small, "--out", str(world / "out"), *more]


def compare(world: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return warm.run("python", FORKING, "stamp_cli.train", *call(world, *more), timeout=TIMEOUT)


def run_of(world: Path, name: str) -> Path:
    return world / "out/runs" / name / "seed-0/run"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets, a recipe, and what a comparison left that was killed in its first training."""
    root = tmp_path_factory.mktemp("comparison")
    make_shards(root, ("refcoco", "refcoco+", "refcocog", "grefcoco"))
    (root / "small.yaml").write_text(RECIPE, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "stamp_cli.train", *call(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    checkpoint, ends = run_of(root, METHODS[0]) / "checkpoints/step-000002", time.monotonic() + TIMEOUT
    while not checkpoint.is_dir():
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return root


@pytest.fixture(scope="module")
def failed(world: Path) -> subprocess.CompletedProcess[str]:
    """The call after that, for which the second method cannot be trained."""
    log = run_of(world, METHODS[1]) / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("no row\n")
    done = compare(world)
    log.unlink()
    return done


@pytest.fixture(scope="module")
def found(world: Path, failed: subprocess.CompletedProcess[str]) -> dict[str, Any]:  # noqa: ARG001 - comes after it
    """What came of the call after that, which nothing hinders."""
    done = compare(world, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_method_that_fails_is_a_row_that_says_why(failed: subprocess.CompletedProcess[str], world: Path) -> None:
    assert failed.returncode == 1, failed.stderr
    assert "failed: embedding-dot, seed 0: " in failed.stderr and "log.jsonl:1: damaged" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "stamp-fine" in failed.stdout and "damaged" in failed.stdout
    assert "log.jsonl:1: damaged" in (world / "out/table.md").read_text()


def test_a_killed_comparison_goes_on_to_the_same_rows(found: dict[str, Any], world: Path) -> None:
    """As a run by itself, and from the same batches for both."""
    straight = world / "straight"
    assert train(world / "out/runs/stamp-fine/seed-0/recipe.yaml", world / "shards", straight).returncode == 0
    rows = {name: log_of(run_of(world, name)) for name in METHODS}
    assert rows["stamp-fine"] == log_of(straight)
    assert [row["step"] for row in rows["embedding-dot"]] == list(range(1, 9))
    assert len({tuple(row["batch_digest"] for row in some) for some in rows.values()}) == 1
    assert list(found["batches"]) == ["0"] and found["steps"] == 8


def test_what_is_done_is_not_done_again(found: dict[str, Any], world: Path) -> None:
    files = [path for path in (world / "out/runs").rglob("*") if path.is_file() and path.name != "job.lock"]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = compare(world, "--json")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert {**json.loads(again.stdout), "command": ""} == {**found, "command": ""}


def test_both_begin_with_one_base(found: dict[str, Any], world: Path) -> None:  # noqa: ARG001 - is there after it
    recipes = [(world / f"out/runs/{name}/seed-0/recipe.yaml").read_text() for name in METHODS]
    assert all(f"start: {world / 'out/base'}" in text for text in recipes)
    assert "stamp" not in json.loads((world / "out/base/config.json").read_text())


def test_scores_are_those_of_eval(found: dict[str, Any], world: Path) -> None:
    for row in found["rows"]:
        results = json.loads((world / f"out/runs/{row['name']}/seed-0/evaluation/results.json").read_text())
        for one in results["sets"]:
            for mode in ("free", "forced"):
                for metric in ("ciou", "giou"):
                    told = row["scores"][one["name"]][mode][metric]
                    assert told["value"] == pytest.approx(one["scores"][mode]["stamp"][metric], abs=1e-9)
                    assert 0 <= told["low"] <= told["high"] <= 1


def test_costs_are_what_methods_are(found: dict[str, Any]) -> None:
    """A mask is one token for each of 2x3 patches and its `<|seg|>`, or less than one."""
    stamp, dot = (row["costs"] for row in found["rows"])
    assert (stamp["tokens_per_mask"], stamp["passes_per_mask"], stamp["vision_passes"]) == (7, 1, 1)
    assert dot["tokens_per_mask"] <= 1 and dot["passes_per_mask"] == 0 and dot["vision_passes"] == 1
    assert (
        stamp["training_tokens"] > dot["training_tokens"] and stamp["training_operations"] > dot["training_operations"]
    )
    for costs in (stamp, dot):
        assert 0 < costs["added"] < costs["parameters"]
        assert min(costs["memory"], costs["training_seconds"], costs["answer_seconds"]) > 0
    ceilings = [row["ceiling"]["refcoco-unc/val"]["ciou"] for row in found["rows"]]
    assert all(0.5 < value <= 1 for value in ceilings)


def test_curves_are_what_runs_scored_on_the_way(found: dict[str, Any], world: Path) -> None:
    for row in found["rows"]:
        lines = (run_of(world, row["name"]) / "evaluations.jsonl").read_text().splitlines()
        scored = [json.loads(line) for line in lines]
        assert [(one["step"], one["ciou"]) for one in row["curves"]["0"]] == [
            (one["step"], one["metrics"]["ciou"]) for one in scored
        ]
        assert [one["step"] for one in scored] == [4, 8]


def test_the_page_needs_nothing_else_and_shows_the_scenes(found: dict[str, Any], world: Path) -> None:
    html = (world / "out/page.html").read_text()
    links = Links()
    links.feed(html)
    assert len(links.asked) == 2 and all(link.startswith("data:image/jpeg;base64,") for link in links.asked)
    assert sorted(path.name for path in (world / "out/pictures").iterdir()) == ["00.jpg", "01.jpg"]
    assert all(row["name"] in html for row in found["rows"])


def test_a_folder_with_another_comparison_is_left_alone(found: dict[str, Any], world: Path) -> None:  # noqa: ARG001
    done = compare(world, "--set", "optimizer.learning_rate=1e-4")
    assert (done.returncode, done.stdout) == (2, "")
    assert "optimizer.learning_rate was 0.002, is 0.0001" in done.stderr
    other = warm.run("stamp-train", *call(world), "--out", str(world / "shards"))
    assert other.returncode == 2 and "no comparison" in other.stderr


def test_a_dry_run_says_what_each_method_costs_and_writes_nothing(world: Path) -> None:
    def there() -> list[Path]:
        """All but the folder of the comparison that was killed, whose training may take a moment to end."""
        return sorted(path for part in world.iterdir() if part.name != "out" for path in (part, *part.rglob("*")))

    before = there()
    done = compare(world, "--dry-run", "--json", "--out", str(world / "new"))
    told = json.loads(done.stdout)
    assert [one["name"] for one in told["methods"]] == list(METHODS)
    assert all(one["run"]["sizes"]["head"] > 0 and not one["failed"] for one in told["methods"])
    assert there() == before


def test_the_recipe_for_a_cluster_says_what_every_method_would_cost(world: Path) -> None:
    """Without the network that it begins with, which is not here."""
    asked = ["compare", "all", "--recipe", "compare-2b", "--dry-run", "--device", "h100", "--devices", "8"]
    weightless = ["model.start=", "model.preset=2b", f"data.root={world / 'shards'}"]
    changes = [word for change in weightless for word in ("--set", change)]
    told = {kind: warm.run("stamp-train", *asked, *changes, *kind) for kind in ((), ("--json",))}
    assert all(done.returncode == 0 for done in told.values()), told
    methods = json.loads(told["--json",].stdout)["methods"]
    assert [one["name"] for one in methods] == available()
    assert {one["run"]["sizes"]["hidden"] for one in methods} == {1536}
    lines = told[()].stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == available()
    assert all(line.rstrip().endswith((" s", " min", " h")) for line in lines[1:-1])
    assert lines[-1].startswith("training of all, 3 seeds, estimated: ")
