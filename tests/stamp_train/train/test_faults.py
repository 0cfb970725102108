"""A run whose disk fills or whose data goes: one line, the last good checkpoint stays, and the run goes on from it."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stamp_cli.expected import expected
from stamp_data.shards.reader import ShardSet
from stamp_schemas import StampError
from stamp_train.recipes import Resolved, resolve
from stamp_train.train.checksums import find_faults
from stamp_train.train.folder import EVALUATIONS, find, read_progress
from stamp_train.train.network import build_network
from stamp_train.train.panel import Watched
from stamp_train.train.runlog import Measured, RunLog

from ..runs import log_of, make_shards, run, train, write_recipe


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("faults"))


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """A run makes kernels deterministic for its process; the tests of other modules should not notice."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def size_limit() -> Iterator[int]:
    """A size, in bytes, that files may have until a test says otherwise; weights and moments are larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def recipe_of(shards: Path, folder: Path) -> Resolved:
    return resolve(str(write_recipe(folder)), [f"data.root={shards}", "evaluation.sets=[]"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_on_a_full_disk_is_named(tmp_path: Path) -> None:
    log = RunLog(tmp_path / EVALUATIONS, 0)
    log.path.unlink()
    log.path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as fault:
        log.add(Measured(step=1, metrics={}))
    assert fault.value.filename == str(tmp_path / EVALUATIONS)


def test_a_disk_that_fills_leaves_a_checkpoint_to_go_on_from(shards: Path, tmp_path: Path, size_limit: int) -> None:
    recipe, out = recipe_of(shards, tmp_path), tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(watched: Watched) -> None:
        if watched.row.step == 3:
            ends = time.monotonic() + 60  # the one before is written beside the training, on a busy machine until now
            while not find(out / "checkpoints") and time.monotonic() < ends:
                time.sleep(0.01)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_limit, before[1]))

    with pytest.raises(StampError, match=r"step-000004: not written: .*File too large") as fault:
        run(recipe, out, watch=fill)
    assert "\n" not in str(fault.value)
    assert fault.value.hint.startswith(f"the last good one is {out}/checkpoints/step-000002")
    (start,) = (out / "checkpoints").iterdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run(recipe, out, start)
    run(recipe, tmp_path / "whole")
    assert log_of(out) == log_of(tmp_path / "whole")
    assert (out / "final" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "final" / "model.safetensors"
    ).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written_ends_the_run_and_what_is_there_stays(shards: Path, tmp_path: Path) -> None:
    recipe, out = recipe_of(shards, tmp_path), tmp_path / "run"
    log, aside = out / "log.jsonl", tmp_path / "aside.jsonl"

    def fill(watched: Watched) -> None:
        if watched.row.step == 3:
            log.rename(aside)
            log.symlink_to("/dev/full")

    with pytest.raises(OSError, match="No space left on device") as fault:
        run(recipe, out, watch=fill)
    told = expected(fault.value)
    assert told is not None
    assert (told.message, told.exit_code) == (f"{log}: No space left on device", 1)
    aside.rename(log)
    assert [row["step"] for row in log_of(out)] == [1, 2, 3]
    (start,) = find(out / "checkpoints")
    assert start.name == "step-000002" and find_faults(start) == []
    run(recipe, out, start)
    assert [row["step"] for row in log_of(out)] == list(range(1, 11))


def test_a_tar_that_is_cut_at_a_member_ends_the_run_and_names_it(shards: Path, tmp_path: Path) -> None:
    """That of the second stage, so that there is a checkpoint of the first."""
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    with ShardSet(copy / "grefcoco-unc" / "train") as records:
        cut = records.rows[len(records.rows) // 2].json_offset - 512  # the header of that member
    (tar,) = sorted((copy / "grefcoco-unc" / "train").glob("*.tar"))[-1:]
    tar.write_bytes(tar.read_bytes()[:cut] + bytes(1024))
    with pytest.raises(StampError, match=rf"{tar.name}: [\d,]+ bytes, the manifest says") as fault:
        run(recipe_of(copy, tmp_path), tmp_path / "run")
    assert "\n" not in str(fault.value)
    assert read_progress(find(tmp_path / "run" / "checkpoints")[-1]).step == 6


def test_a_set_that_is_gone_is_one_line_of_the_command(shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    for tar in (copy / "llava" / "train").glob("*.tar"):
        tar.unlink()
    done = train(write_recipe(tmp_path), copy, tmp_path / "run", "--set", "evaluation.sets=[]")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "llava/train/shard-000000.tar: no such file" in done.stderr


def test_a_start_that_is_no_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"model\.start: .*: no config\.json") as fault:
        build_network(resolve("tiny", ["model.preset=", f"model.start={tmp_path}"]).recipe)
    assert "\n" not in fault.value.message
