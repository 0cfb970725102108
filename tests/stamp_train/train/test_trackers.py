"""TensorBoard's and W&B's files hold what `log.jsonl` holds, read back as their own pages would."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stamp_schemas import UsageFault
from stamp_train.recipes import resolve
from stamp_train.train.resume import find
from stamp_train.train.runlog import Row
from stamp_train.train.trackers import open_trackers

from ..runs import make_shards, train, write_recipe

pytestmark = pytest.mark.slow
pytest.importorskip("tensorboard")
pytest.importorskip("wandb")
NUMBERS = [field.name for field in msgspec.structs.fields(Row) if field.type in (int, float) and field.name != "step"]
NUMBERS += ["loss_text", "loss_mask"]


def expected(out: Path) -> dict[str, dict[int, float]]:
    """Every number of log and evaluations, by name and step."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    found = {name: {row["step"]: row[name] for row in rows} for name in NUMBERS}
    for line in (out / "evaluations.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for name, value in row["metrics"].items():
            found.setdefault(name, {})[row["step"]] = value
    return found


def in_tensorboard(out: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    scalars = {}
    for name in events.Tags()["scalars"]:
        points = [(event.step, event.value) for event in events.Scalars(name)]
        scalars[name] = dict(points)
        assert len(scalars[name]) == len(points)
    return scalars


def wandb_records(file: Path) -> Iterator[bytes]:
    """Records of a transaction log: after 7 bytes, blocks of 32 KiB of pieces (checksum, length, kind), as LevelDB's."""
    data, at, held = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        room = 2**15 - at % 2**15
        if room < 7:
            at += room
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        held += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield held
            held = b""


def in_wandb(out: Path) -> dict[str, dict[int, float]]:
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = out.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, dict[int, float]] = {}
    for data in wandb_records(file):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            values = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for name, value in values.items():
                if not name.startswith("_"):
                    found.setdefault(name, {})[int(values["_step"])] = value
    return found


def test_both_hold_the_log_after_a_restart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe, shards, out = write_recipe(tmp_path), make_shards(tmp_path / "made"), tmp_path / "run"
    tracked = ("--set", "trackers=[tensorboard,wandb]", "--set", "evaluation.every=5", "--set", "saving.keep=5")
    done = train(recipe, shards, out, *tracked)
    assert done.returncode == 0, done.stderr
    numbers = expected(out)
    assert set(numbers) == {*NUMBERS, "ciou", "label_ciou", "text_accuracy"}
    assert sorted(numbers["loss"]) == list(range(1, 11)) and sorted(numbers["ciou"]) == [5, 10]
    assert in_wandb(out) == numbers
    same(in_tensorboard(out), numbers)
    for checkpoint in find(out / "checkpoints")[2:]:  # as if it had been killed after its fourth step
        shutil.rmtree(checkpoint)
    done = train(recipe, shards, out, "--set", "trackers=[tensorboard]", *tracked[2:], "--resume", "auto")
    assert done.returncode == 0, done.stderr
    same(in_tensorboard(out), expected(out))


def same(found: dict[str, dict[int, float]], numbers: dict[str, dict[int, float]]) -> None:
    assert {name: sorted(points) for name, points in found.items()} == {n: sorted(p) for n, p in numbers.items()}
    for name, points in numbers.items():
        assert found[name] == pytest.approx(points, rel=1e-6)  # event files hold float32


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stamp_train.train.trackers.find_spec", lambda _: None)
    with pytest.raises(UsageFault, match="wandb is not installed"):
        open_trackers(resolve("tiny", ["trackers=[wandb]"]), tmp_path, 0)
    assert open_trackers(resolve("tiny"), tmp_path, 0) == []
