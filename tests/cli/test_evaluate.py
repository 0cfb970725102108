"""`stamp-train eval` as users run it: tables and files, several processes, kills, refusals, damage."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stamp_cli.evaluate import _name

from ..stamp_train.eval.made_sets import save_lively
from ..stamp_train.runs import make_shards
from ..warm import warm

pytestmark = pytest.mark.slow
TIMEOUT = 300  # seconds
SETS = ("refcoco-unc/val", "grefcoco-unc/val")
QUICK = ("--max-new-tokens", "8", "--max-tokens", "16", "--batch-size", "4", "--mode", "both")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lively(tmp_path_factory.mktemp("checkpoint") / "lively")


@pytest.fixture(scope="module")
def undisturbed(shards: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation in one process."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = evaluate(checkpoint, *(shards / one for one in SETS), *QUICK, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "stamp_cli.train", "eval", *map(str, arguments)]


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    return warm.run("stamp-train", "eval", *arguments, timeout=TIMEOUT)


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_bytes())
    return found


def test_what_it_leaves(undisturbed: Path) -> None:
    found = results(undisturbed)
    assert [one["name"] for one in found["sets"]] == list(SETS)
    lines = [json.loads(line) for line in (undisturbed / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    for one in found["sets"]:
        for variant in ("free", "forced"):
            mine = [line for line in lines if line["set"] == one["name"] and line["variant"] == variant]
            assert len(mine) == one["cases"] == len({line["id"] for line in mine})
            shared, either = (sum(line["score"][what] for line in mine) for what in ("intersection", "union"))
            assert one["scores"][variant]["stamp"]["ciou"] == pytest.approx(shared / either)
    flags = found["sets"][0]["flags"]
    assert flags["free"]["no_seg"] > 0 and "no_seg" not in flags["forced"]
    card = found["card"]
    assert card["settings"]["checkpoint_digest"] and card["model"]["max_tokens"] == 16
    assert card["settings"]["versions"]["torch"]
    page = (undisturbed / "page.html").read_text(encoding="utf-8")
    assert not re.search(
        r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//|@import|\bfetch\(""", page
    )  # it needs nobody
    assert "data:image/jpeg" in page


def test_several_processes_give_the_same(undisturbed: Path, shards: Path, checkpoint: Path, tmp_path: Path) -> None:
    done = evaluate(checkpoint, *(shards / one for one in SETS), *QUICK, "--out", tmp_path / "out", "-p", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == results(undisturbed)
    assert len(list((tmp_path / "out/parts").iterdir())) == 2
    for name in ("results.json", "cases.jsonl", "page.html"):
        assert (tmp_path / "out" / name).read_bytes() == (undisturbed / name).read_bytes()


def test_killed_it_goes_on(undisturbed: Path, shards: Path, checkpoint: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "out", tmp_path / "out/parts/rank-00000.jsonl"
    arguments = (checkpoint, *(shards / one for one in SETS), *QUICK, "--out", out)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(*arguments), stderr=subprocess.DEVNULL, env=environment)
    until = time.monotonic() + TIMEOUT
    while not part.exists() or part.read_bytes().count(b'{"batch"') < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.read_bytes()
    assert not (out / "results.json").exists()
    done = evaluate(*arguments)
    assert done.returncode == 0, done.stderr
    assert part.read_bytes().startswith(kept[: kept.rindex(b'{"batch"')])
    for name in ("results.json", "cases.jsonl"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


def test_labels_themselves_and_damage(shards: Path, tmp_path: Path) -> None:
    """The oracle needs no checkpoint; what cannot be read is named, and fails the command, with the rest's numbers."""
    folder = shutil.copytree(shards / SETS[0], tmp_path / SETS[0])
    shard = folder / "shard-000000.tar"
    data = bytearray(shard.read_bytes())
    data[data.index(b"JFIF") + 200] ^= 1
    shard.write_bytes(data)
    done = evaluate("--oracle", folder, "--out", tmp_path / "out", "--min-tokens", 64, "--max-tokens", 96, "--tables")
    assert done.returncode == 1
    assert "damaged: refcoco-unc/val refcoco-unc-val-" in done.stderr and "damaged cases are not in" in done.stderr
    assert "Table 2." not in done.stdout and "refcoco-unc/val" in done.stdout
    assert "refcoco-unc/val: " in done.stderr and "(published 10,834)" in done.stderr
    assert all(kind in done.stdout for kind in ("soft 1x1", "hard 1x1", "sampled 1x1", "soft 4x4", "hard 4x4"))
    (found,) = results(tmp_path / "out")["sets"]
    assert found["damaged"] == len(results(tmp_path / "out")["damaged"]) > 0
    assert found["scores"]["soft 1x1"]["stamp"]["ciou"] > 0.3


def test_faults_are_one_line(shards: Path, tmp_path: Path) -> None:
    done = evaluate(tmp_path / "nowhere", shards / SETS[0], "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[0].startswith(f"error: {tmp_path / 'nowhere'}: no such checkpoint folder")
    assert evaluate("only-one").returncode == 2


def test_the_oracle_takes_what_a_recipe_learns(shards: Path, tmp_path: Path) -> None:
    """Its labels come first, its bounds are those of its pictures; a side that is spelled stands alone."""
    done = evaluate("--oracle", "tiny", shards / SETS[0], "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "tiny learns soft 4x4 labels" in done.stderr
    found = results(tmp_path / "out")
    assert next(iter(found["sets"][0]["scores"])) == "soft 4x4" and len(found["sets"][0]["scores"]) == 5
    assert (found["card"]["settings"]["min_tokens"], found["card"]["settings"]["max_tokens"]) == (4, 48)
    done = evaluate("--oracle", shards / SETS[0], "--side", 4, "--labels", "hard", "--out", tmp_path / "one")
    assert list(results(tmp_path / "one")["sets"][0]["scores"]) == ["hard 4x4"]
    assert evaluate("tiny", shards / SETS[0], "--side", 4, "--out", tmp_path / "none").returncode == 2


@pytest.mark.parametrize(("learnt", "folder"), [("", "labels"), ("stamp-2b", "labels-stamp-2b"), ("a b/c", "labels-c")])
def test_labels_of_each_recipe_have_a_folder_of_their_own(learnt: str, folder: str) -> None:
    """Or the examples of the help, one after the other, would meet an evaluation with other settings."""
    assert _name(None, learnt) == folder
