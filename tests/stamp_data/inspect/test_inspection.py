"""The report: what it counts, that it samples the same way twice, and that damage does not stop it."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stamp_data.grid import coverage, patch_grid
from stamp_data.inspect.inspection import inspect_sets
from stamp_data.inspect.record_stats import patch_quality
from stamp_data.inspect.report import InspectReport, failures
from stamp_data.inspect.selection import Selection, record_keys
from stamp_schemas import StampError, UsageFault
from stamp_schemas.record import FULL

from .scenes import Scene, write_set


def test_counts_of_the_zoo(zoo_set: Path) -> None:
    report = inspect_sets([zoo_set], everything=True)
    train, val = report.statistics.groups
    assert (train.set, val.set) == ("tiny/train", "tiny/val")
    assert (train.records, train.dialogues, train.targets) == (13, 10 * 5 + 3, 10 * 4 + 2)
    assert train.no_target_percent == round(100 * 10 / 52, 2)
    assert train.multi_target_percent == round(100 * 20 / 52, 2)
    assert report.statistics.all.records == 15
    assert report.sampling.text_unit == "mixed"
    assert val.text.mean == 11
    assert report.sampling.pictures == 14


def test_report_is_the_same_twice_and_reads_back(zoo_set: Path) -> None:
    first, second = (msgspec.json.encode(inspect_sets([zoo_set], Selection(seed=4), limit=6)) for _ in range(2))
    assert first == second
    report = msgspec.json.decode(first, type=InspectReport)
    assert list(msgspec.json.decode(first)) == ["schema", "inputs", "sampling", "statistics", "flags", "summary"]
    assert report.schema == "stamp.inspect/1"
    assert "Sample of 6 of 15" in report.first_line()


def test_sample_depends_on_seed_and_not_on_other_sets(zoo_set: Path) -> None:
    alone = set(record_keys([zoo_set / "tiny" / "train"], Selection(seed=1), limit=5))
    assert alone == set(record_keys([zoo_set / "tiny" / "train"], Selection(seed=1), limit=5))
    assert alone != set(record_keys([zoo_set / "tiny" / "train"], Selection(seed=2), limit=5))
    both = {key for key in record_keys([zoo_set], Selection(seed=1), limit=5) if not key.startswith("v")}
    assert both <= alone


def test_where_counts_matching_dialogues_only(zoo_set: Path) -> None:
    report = inspect_sets([zoo_set], Selection(where="kind == 'no_target'"), everything=True)
    assert (report.sampling.matched, report.sampling.dialogues) == (10, 10)
    assert report.statistics.all.mask_area.count == 0
    assert not report.flags
    nothing = inspect_sets([zoo_set], Selection(where="area > 2"), everything=True)
    assert nothing.sampling.matched == nothing.statistics.all.records == 0
    assert list(record_keys([zoo_set], Selection(where="'ant' in categories"))) == ["tiny-thing"]
    falling = list(record_keys([zoo_set / "tiny" / "val"], Selection(sort="-area")))
    assert falling == ["v01", "v00"]


def test_one_set_given_twice_counts_once(zoo_set: Path) -> None:
    assert inspect_sets([zoo_set, zoo_set / "tiny" / "val"]).sampling.total == 15


def test_no_set_and_no_path(tmp_path: Path) -> None:
    with pytest.raises(StampError):
        inspect_sets([tmp_path])
    with pytest.raises(UsageFault):
        inspect_sets([])


def test_damage_is_a_flag_and_the_rest_is_counted(tmp_path: Path) -> None:
    made = [Scene(f"k{number}").target("a", (5, 5, 50, 50)).says("it", [0]).made() for number in range(4)]
    made[1].image = made[1].image[: len(made[1].image) // 2]
    folder = write_set(tmp_path, made)
    shard = folder / "shard-000000.tar"
    data = bytearray(shard.read_bytes())
    place = data.find(b'"key":"k2"')
    data[place + 8] ^= 1
    shard.write_bytes(data)
    report = inspect_sets([tmp_path], everything=True)
    (flag,) = report.flags
    assert (flag.code, flag.count) == ("STP-E001", 2)
    assert {example.key for example in flag.examples} == {"k1", "k2"}
    assert report.statistics.all.records == 3
    assert [one.code for one in failures(report, "error")] == ["STP-E001"]


def test_fail_on_takes_severities_and_codes(zoo_set: Path) -> None:
    report = inspect_sets([zoo_set], Selection(budget=2000), everything=True)
    codes = {flag.code for flag in report.flags}
    assert {"STP-W003", "STP-W005", "STP-W006", "STP-W009"} <= codes
    assert {flag.code for flag in failures(report, "w003, STP-W005")} == {"STP-W003", "STP-W005"}
    assert all(flag.severity != "info" for flag in failures(report, "warning"))
    with pytest.raises(UsageFault, match="neither a severity nor a flag"):
        failures(report, "W0003x")
    with pytest.raises(UsageFault, match="empty"):
        failures(report, " , ")


def test_quantisation_iou_is_that_of_upsampled_patches() -> None:
    rng = np.random.default_rng(3)
    height, width = 120, 160
    grid = patch_grid(height, width)
    rows, columns = np.mgrid[0:height, 0:width]
    masks = [
        ((rows - rng.integers(20, 100)) ** 2 + (columns - rng.integers(20, 140)) ** 2 < rng.integers(4, 50) ** 2)
        for _ in range(12)
    ]
    labels = np.stack([coverage(mask.astype(np.uint8), grid) for mask in masks])
    counts, ious = patch_quality(labels)
    scale_down, scale_across = grid.height, grid.width
    for mask, label, count, iou in zip(masks, labels, counts, ious, strict=True):
        positive = 2 * label.astype(int) >= FULL
        fine = np.kron(mask, np.ones((scale_down, scale_across), bool))  # every patch is height × width of these units
        patches = np.kron(positive, np.ones((height, width), bool))
        brute = (fine & patches).sum() / max((fine | patches).sum(), 1)
        assert count == positive.sum()
        assert iou == pytest.approx(brute, abs=0.01)


def test_three_hundred_records_take_no_time(tmp_path: Path) -> None:
    made = [
        Scene(f"k{number:04d}", seed=number % 7).target("a", (5, 5, 50, 50)).says("the dog", [0], passes=2).made()
        for number in range(300)
    ]
    write_set(tmp_path, made)
    start = time.process_time()  # not the clock on the wall: other tests run beside this one
    inspect_sets([tmp_path], everything=True)
    assert time.process_time() - start < 1.5
