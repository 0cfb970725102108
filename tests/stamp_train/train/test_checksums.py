"""Every byte of a checkpoint is vouched for: by the command, and before a run goes on from it."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stamp_data.writing import replace_folder
from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Saving
from stamp_train.train.checkpoint import CheckpointWriter
from stamp_train.train.checksums import CHECKSUMS, find_faults
from stamp_train.train.resume import Progress, find, find_start, find_whole


def model(folder: Path) -> None:
    """A small one, part of it in a folder of its own."""
    (folder / "adapter").mkdir()
    (folder / "adapter" / "model.safetensors").write_bytes(bytes(range(256)) * 4)
    (folder / "config.json").write_text('{"model_type": "qwen2_vl"}', encoding="utf-8")


def write(out: Path, steps: range, keep: int = 9, best: str = "") -> CheckpointWriter:
    saving = Saving(keep=keep, best=best)  # type: ignore[arg-type]
    writer = CheckpointWriter(out / "checkpoints", saving)
    for step in steps:
        metrics = {"ciou": 1 / step}
        progress = Progress(step=step, stage=0, stage_step=step, stream={"plan": "p", "draws": step}, metrics=metrics)
        writer.write(progress, {"state": {0: torch.ones(5)}, "param_groups": []}, model)
    writer.close()
    return writer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with checkpoints of steps 1 to 3, and a finished model."""
    write(tmp_path / "run", range(1, 4))

    def final(folder: Path) -> None:
        from stamp_train.train.checksums import write_checksums

        model(folder)
        write_checksums(folder)

    replace_folder(tmp_path / "run" / "final", final)
    return tmp_path / "run"


def flip(path: Path, place: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


def verify(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stamp_cli.train", "verify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


# --- every change is found --------------------------------------------------------------------------------------------


def test_what_was_written_is_whole(run: Path) -> None:
    for folder in (*find(run / "checkpoints"), run / "final"):
        assert find_faults(folder) == []
        listed = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["files"]
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert listed.keys() == names - {CHECKSUMS}


def test_every_byte_that_changes_is_found_in_every_file(run: Path) -> None:
    """80 of each, the list itself among them."""
    (folder, *_) = find(run / "checkpoints")
    rng = random.Random(0)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path, place in [(path, rng.randrange(path.stat().st_size)) for path in files for _ in range(80)]:
        mask = rng.randrange(1, 256)
        flip(path, place, mask)
        assert find_faults(folder), (path.name, place, mask)
        flip(path, place, mask)
    assert find_faults(folder) == []


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [lose, cut, grow, pipe])
def test_a_file_that_is_lost_cut_or_longer_is_named(run: Path, damage: Callable[[Path], None]) -> None:
    folder = find(run / "checkpoints")[0]
    damage(folder / "adapter" / "model.safetensors")
    (fault,) = find_faults(folder) or []
    assert fault.startswith("adapter/model.safetensors: ")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": {"../../secret": 3}}', '{"files": {"a": {"bytes": 1e99}}}']
)
def test_a_list_that_is_none_is_a_fault(run: Path, text: str) -> None:
    folder = find(run / "checkpoints")[0]
    (folder / CHECKSUMS).write_text(text)
    (fault,) = find_faults(folder) or []
    assert fault.startswith("checksums.json: damaged: ") and "\n" not in fault


def test_a_list_opens_no_file_outside_its_folder(run: Path) -> None:
    folder = find(run / "checkpoints")[0]
    listed = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    listed["files"] = {"../step-000002/state.json": listed["files"]["state.json"]}
    (folder / CHECKSUMS).write_text(json.dumps(listed, indent=2) + "\n")
    assert find_faults(folder) == ["../step-000002/state.json: missing"]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_lists_checkpoints_and_the_finished_model(run: Path) -> None:
    done = verify(run)
    assert done.returncode == 0, done.stderr
    head, *rows, _ = done.stdout.splitlines()
    assert head.split() == ["folder", "step", "files", "MiB"]
    assert [row.split()[0].removeprefix(f"{run}/") for row in rows] == [
        *(f"checkpoints/step-00000{step}" for step in (1, 2, 3)),
        "final",
    ]
    assert all(row.endswith("  whole") for row in rows)
    assert done.stdout.splitlines()[-1] == "4 folders: no fault"
    assert verify(run / "final").returncode == 0


def test_the_command_names_what_is_damaged(run: Path) -> None:
    flip(run / "checkpoints" / "step-000002" / "optimizer.pt", 300)
    (run / "checkpoints" / "step-000003" / "state.json").unlink()
    (run / "final" / CHECKSUMS).unlink()
    done = verify(run, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["faults"] == 2
    one, two, three, final = found["folders"]
    assert (one["step"], one["faults"], one["checksums"]) == (1, [], True)
    assert two["faults"] == ["optimizer.pt: damaged: its bytes have changed"]
    assert three["faults"] == ["state.json: missing"] and three["step"] is None
    assert (final["checksums"], final["faults"]) == (False, [])
    assert "no checksums, since an older version wrote it: " in done.stderr
    assert "4 folders: 2 faults" in done.stderr


def test_the_command_refuses_what_is_no_run(tmp_path: Path) -> None:
    done = verify(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: no checkpoint of a run")


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_from_the_newest_whole_one_and_says_so(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, two, three = find(run / "checkpoints")
    assert find_whole(run, "auto") == three
    flip(three / "optimizer.pt", 200)
    assert find_whole(run, "auto") == two
    (said,) = caplog.messages
    assert said == f"damaged: {three}: optimizer.pt: damaged: its bytes have changed; going on from {two} instead"
    cut(two / "state.json")
    assert find_whole(run, "auto") == one
    (one / "config.json").unlink()
    with pytest.raises(
        StampError, match=r"^damaged: .*step-000003.*step-000002.*step-000001: config\.json: missing"
    ) as fault:
        find_whole(run, "auto")
    assert f"stamp-train verify {run}" in fault.value.hint


def test_a_damaged_one_that_was_named_is_refused(run: Path) -> None:
    newest = find(run / "checkpoints")[-1]
    flip(newest / "adapter" / "model.safetensors", 5)
    with pytest.raises(StampError, match=r"step-000003: adapter/model\.safetensors: damaged") as fault:
        find_whole(run, str(newest))
    assert "--resume auto" in fault.value.hint
    with pytest.raises(UsageFault, match="not a checkpoint of a run"):
        find_start(run, str(run))


def test_one_of_an_older_version_is_gone_on_from_and_that_is_said(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    newest = find(run / "checkpoints")[-1]
    (newest / CHECKSUMS).unlink()
    with caplog.at_level(logging.WARNING):
        assert find_whole(run, "auto") == newest
    assert caplog.messages == [f"{newest} has no checksums.json, which older versions did not write: it is not checked"]


def test_a_damaged_one_counts_neither_as_newest_nor_as_best(tmp_path: Path) -> None:
    """A run that fell back writes on; of two that are kept, neither is pushed out by what it fell back from."""
    write(tmp_path, range(1, 5), keep=2, best="ciou")
    found = find(tmp_path / "checkpoints")
    assert [path.name for path in found] == ["step-000001", "step-000003", "step-000004"]
    cut(found[0] / "state.json")
    found[-1].rename(found[-1].with_name("step-000009"))
    write(tmp_path, range(5, 8), keep=2, best="ciou")
    assert [path.name for path in find(tmp_path / "checkpoints")] == [f"step-00000{n}" for n in (3, 6, 7, 9)]
