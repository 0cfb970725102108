"""What the doctor says about a root."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from PIL import Image

from stamp_data import doctor
from stamp_data.doctor import Fact, Report, environment, examine
from stamp_data.doctor.datasets import DatasetReport
from stamp_data.doctor.published import published
from stamp_data.sources import Reading
from stamp_schemas import StampError, UsageFault

from ...conftest import Command
from ..raw import build

PICTURES = "refer_seg/images/coco_2014/train2014"


def write_refcoco(root: Path, size: tuple[int, int] = (64, 48), split_by: str = "unc") -> None:
    """One image, two references (one of them dangling), three sentences, and its picture."""
    folder = root / "refer_seg" / "refcoco"
    folder.mkdir(parents=True, exist_ok=True)
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}
    annotation = {"id": 11, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    held = {"images": [image], "annotations": [annotation], "categories": []}
    (folder / "instances.json").write_text(json.dumps(held))
    refs = [
        {
            "ref_id": n,
            "ann_id": ann,
            "image_id": 1,
            "split": "train",
            "sentences": [{"sent_id": n, "sent": t} for t in texts],
        }
        for n, (ann, texts) in enumerate([(11, ["a", "b"]), (999, ["c"])])
    ]
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=0))
    (root / PICTURES).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(root / PICTURES / "a.jpg")


def about(report: Report, name: str, split_by: str = "") -> DatasetReport:
    return next(d for d in report.datasets if d.dataset == name and (not split_by or d.split_by == split_by))


def codes(dataset: DatasetReport) -> set[str]:
    return {f.code for f in dataset.findings} | {f.code for split in dataset.splits for f in split.findings}


def test_an_empty_root_says_where_everything_comes_from(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert {d.dataset for d in report.datasets} == set(published())
    assert all(d.state == "absent" and d.downloads for d in report.datasets)
    assert all(part.url.startswith("http") for d in report.datasets for part in d.downloads)
    assert not report.findings
    assert report.nothing and report.worst == "error"


def test_counts_are_compared_and_pictures_opened(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    dataset = about(examine(tmp_path), "refcoco")
    (train,) = dataset.splits
    assert dataset.state == "ready"
    assert (train.counts.refs, train.counts.sentences, train.counts.images) == (2, 3, 1)
    details = [f.detail for f in train.findings if f.code == "other-count"]
    assert details == ["2 refs, 3 sentences, 1 images; published are 42,404, 120,624, 16,994"]
    assert (train.opened, train.unusable, train.refused) == (1, 0, {"annotation-missing": 1})
    assert {f.detail for f in dataset.findings} == {f"no record of split {name}" for name in ("val", "testA", "testB")}


def test_another_split_by_shares_the_instances_file(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    write_refcoco(tmp_path, split_by="google")
    dataset = about(examine(tmp_path), "refcoco", "google")
    assert dataset.splits[0].counts.refs == 2 and dataset.splits[0].opened == 0


@pytest.mark.parametrize("fault", ["size", "text", "gone", "folder"])
def test_unusable_pictures(tmp_path: Path, fault: str) -> None:
    write_refcoco(tmp_path, (64, 40) if fault == "size" else (64, 48))
    picture = tmp_path / PICTURES / "a.jpg"
    if fault == "text":
        picture.write_text("not a picture")
    if fault in ("gone", "folder"):
        picture.unlink()
    if fault == "folder":
        picture.parent.rmdir()
    report = examine(tmp_path)
    dataset = about(report, "refcoco")
    assert "picture-unusable" in codes(dataset) and report.worst == "error"
    assert ("pictures-missing" in codes(dataset)) == (fault == "folder") == bool(dataset.downloads)


def test_a_broken_file_is_a_finding_not_an_exception(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    (tmp_path / "refer_seg/refcoco/instances.json").write_text('{"images": [')
    dataset = about(examine(tmp_path), "refcoco")
    assert dataset.state == "broken" and codes(dataset) == {"unreadable"} and dataset.downloads


@pytest.mark.parametrize("name", ["instances.json", "refs(unc).p"])
def test_a_half_dataset_is_an_error_that_lists_what_is_there(tmp_path: Path, name: str) -> None:
    write_refcoco(tmp_path)
    write_llava_alone(tmp_path)
    (tmp_path / "refer_seg/refcoco" / name).unlink()
    report = examine(tmp_path)
    dataset = about(report, "refcoco")
    (finding,) = dataset.findings
    assert dataset.state == "half" and report.worst == "error"
    assert finding.detail.startswith(f"{tmp_path}/refer_seg/refcoco/{name} does not exist; there: ")
    others = {"instances.json", "refs(unc).p"} - {name}
    assert dataset.there == [f"refer_seg/refcoco/{others.pop()}", f"{PICTURES}/a.jpg"]
    assert [part.into for part in dataset.downloads] == ["refer_seg/refcoco"]  # the pictures are there


def test_pictures_without_annotations_are_told_and_wrong_only_where_nothing_is(tmp_path: Path) -> None:
    """Who has one dataset whole need not have the annotations of another that shares its pictures."""
    write_refcoco(tmp_path)
    report = examine(tmp_path)
    assert about(report, "refcoco+").there == [f"{PICTURES}/a.jpg"] and not report.nothing
    for path in (tmp_path / "refer_seg/refcoco").iterdir():
        path.unlink()
    assert examine(tmp_path).worst == "error"


def write_llava_alone(root: Path) -> None:
    """A dataset that is whole, beside others that are not."""
    conversation = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    (root / "llava_v1_5_mix665k.json").write_text(json.dumps([{"id": "a", "conversations": conversation}]))


def test_each_download_is_listed_once(stamp_data: Command, tmp_path: Path) -> None:
    done = stamp_data("doctor", tmp_path)
    assert done.returncode == 1 and f"error: no dataset under {tmp_path}" in done.stdout
    links = re.findall(r"https?://\S+", done.stdout)
    assert len(links) == len(set(links)) > 10
    assert "(refcoco, refcoco+, refcocog, grefcoco): http://images.cocodataset.org/zips/train2014.zip" in done.stdout


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="is no folder"):
        examine(tmp_path / "nowhere")
    (tmp_path / "instances.json").touch()
    with pytest.raises(UsageFault, match="is no folder") as fault:
        examine(tmp_path / "instances.json")
    assert fault.value.hint == "name the folder that it lies in"


def test_the_report_can_be_printed_as_json(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    report = examine(tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def fact(facts: list[Fact], name: str) -> Fact:
    return next(one for one in facts if one.name == name)


@pytest.mark.parametrize(("code", "level"), [(1, "error"), (0, "ok")])
def test_a_torchvision_that_does_not_fit_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, level: str
) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: f"{name}-1.0")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code))
    assert fact(environment(tmp_path), "torchvision").level == level


def test_a_bare_machine_is_fine_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    facts = environment(tmp_path)
    assert {one.name for one in facts} == {"python", "disk", "torch", "transformers", "torchvision", "tokenizer"}
    assert all(one.level == "ok" for one in facts if one.name != "disk")


def test_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    assert fact(environment(tmp_path), "disk").level == "warning"


def test_tokenizer_folders(tmp_path: Path) -> None:
    assert fact(environment(tmp_path, tmp_path), "tokenizer").level == "error"
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).touch()
    assert str(tmp_path) in fact(environment(tmp_path, tmp_path), "tokenizer").value


def test_a_sample_of_the_records_is_made_and_what_a_build_would_refuse_is_told(tmp_path: Path) -> None:
    write_refcoco(tmp_path)
    path = tmp_path / "refer_seg/refcoco/instances.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    held["annotations"][0]["segmentation"] = [{"size": [48, 64], "counts": [9]}]
    path.write_text(json.dumps(held))
    report = examine(tmp_path)
    (finding,) = [f for f in about(report, "refcoco").splits[0].findings if f.code == "record-refused"]
    assert finding.level == report.worst == "error"
    assert "1 of 1 sampled records" in finding.detail and "annotation 11: bad-rle" in finding.detail


def test_what_lies_there_instead_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.1 0.1 0.2 0.2 0.3 0.1")
    report = examine(tmp_path)
    assert report.nothing and report.foreign.startswith("this is YOLO: `stamp-data build yolo")
    with pytest.raises(StampError, match="no dataset found: this is YOLO"):
        build(tmp_path, tmp_path / "out", "all")


def test_it_reads_as_a_build_is_told_to(tmp_path: Path) -> None:
    shape = {"label": "红色方块", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
    file = {"shapes": [shape], "imagePath": "a.png", "imageHeight": 48, "imageWidth": 64}
    (tmp_path / "a.json").write_bytes(json.dumps(file, ensure_ascii=False).encode("gbk"))
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    assert "refused" in codes(about(examine(tmp_path), "labelme"))
    read = about(examine(tmp_path, reading=Reading(encoding="gbk")), "labelme")
    assert not codes(read) and read.splits[0].counts.sentences == 1


def test_labelme_files_are_found_in_the_folders_of_folders(tmp_path: Path) -> None:
    """As `export --to labelme` writes them: SET/SPLIT/KEY.json."""
    shape = {"label": "cup", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
    folder = tmp_path / "pets/val"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    Image.new("RGB", (64, 48)).save(folder / "a.png")
    report = about(examine(tmp_path), "labelme")
    assert report.state == "ready" and [split.split for split in report.splits] == ["val"]
