"""Builds of data whose pictures lie where people really have them: found, or refused with the way out."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from stamp_data.build.jobs import open_sources
from stamp_data.doctor import examine
from stamp_data.sources.base import Reading
from stamp_schemas import StampError, UsageFault

from .raw import BOX, HEIGHT, PICTURES, WIDTH, Command, Job, Raw, build, one_line, picture, read_set, tree

PLACES = "COCO_train2014_000000000001.jpg"


def put(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture() if data is None else data)
    return path


def coco(path: Path, *names: str) -> Path:
    """COCO files with one thing in each of these pictures."""
    content = {
        "images": [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "segmentation": BOX} for n in range(len(names))],
        "categories": [{"id": 1, "name": "it"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def built(root: Path, out: Path, name: str, **options: Any) -> tuple[int, list[str]]:
    """Records that are built, and the details of what is refused."""
    (done,) = build(root, out, name, **options)
    records, rejects = read_set(done.folder)
    assert all(loaded.image for loaded in records)
    return len(records), [row.detail for row in rejects]


NFC, NFD = (unicodedata.normalize(form, "Größe é.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("file", "name", "there"),
    [
        ("annotations/instances_default.json", "a.jpg", "images/default/a.jpg"),
        ("annotations/instances_fold1.json", "a.jpg", "images/fold1/a.jpg"),
        ("labels.json", "a.jpg", "data/a.jpg"),
        ("labels.json", "sub/a.jpg", "data/sub/a.jpg"),
        ("result.json", "images\\a.jpg", "images/a.jpg"),
        ("result.json", "images/my%20a.jpg", "images/my a.jpg"),
        ("instances.json", NFC, f"images/{NFD}"),
        ("instances.json", NFD, f"images/{NFC}"),
        ("instances.json", "a.jpg", "photos/day 1/a.jpg"),
        ("annotations/instances_train.json", "../images/a.jpg", "images/a.jpg"),
        ("annotations/instances_train.json", "a.jpg", "train2017/a.jpg"),
    ],
)
def test_own_pictures_are_found_in_the_usual_places(file: str, name: str, there: str, tmp_path: Path) -> None:
    path = coco(tmp_path / "raw" / file, name)
    put(tmp_path / "raw" / there)
    root = tmp_path / "raw" if file.startswith(("annotations/", "instances")) else path
    assert built(root, tmp_path / "out", "coco") == (1, [])


def test_pictures_beside_the_folder_of_annotations_are_found(tmp_path: Path) -> None:
    coco(tmp_path / "my/labels/mine.json", "a.jpg", "../images/sub/b.jpg")
    put(tmp_path / "my/images/a.jpg")
    put(tmp_path / "my/images/sub/b.jpg")
    assert built(tmp_path / "my/labels/mine.json", tmp_path / "out", "coco", workers=2) == (2, [])


@pytest.mark.parametrize("folder", ["coco/train2014", "train2014", "refer_seg/images/mscoco/images/train2014"])
def test_coco_pictures_lie_where_other_sets_have_them(folder: str, tmp_path: Path) -> None:
    raw = Raw(tmp_path / "raw")
    (tmp_path / "raw" / PICTURES).rmdir()
    raw.pictures = tmp_path / "raw" / folder
    raw.pictures.mkdir(parents=True)
    raw.image(1)
    raw.ref(1, "it")
    assert built(raw.save(), tmp_path / "out", "refcoco") == (1, [])
    assert not [one for one in examine(tmp_path / "raw").findings if "pictures" in one.code]


def test_pictures_of_a_half_empty_usual_folder_are_found_in_the_other(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "raw")
    raw.image(1, b"")
    raw.image(2)
    raw.ref(1, "it")
    raw.ref(2, "it")
    put(tmp_path / "raw/coco/train2014" / PLACES)
    assert built(raw.save(), tmp_path / "out", "refcoco") == (2, [])


@pytest.mark.parametrize("workers", [1, 2])
def test_named_folders_are_looked_in_first(workers: int, tmp_path: Path) -> None:
    coco(tmp_path / "raw/mine.json", "a.jpg", "C:\\data\\b.jpg", "/home/me/sub/c.jpg", "d.jpg")
    put(tmp_path / "raw/a.jpg", picture(shade=1))
    wanted = {
        put(tmp_path / "one/a.jpg", picture(shade=2)),
        put(tmp_path / "one/b.jpg", picture(shade=3)),
        put(tmp_path / "two/sub/c.jpg", picture(shade=4)),
        put(tmp_path / "two/x/y/d.jpg", picture(shade=5)),
    }
    (done,) = build(
        tmp_path / "raw/mine.json",
        tmp_path / "out",
        "coco",
        images=(tmp_path / "one", tmp_path / "two"),
        workers=workers,
    )
    records, rejects = read_set(done.folder)
    assert {loaded.image for loaded in records} == {path.read_bytes() for path in wanted} and not rejects
    assert all(record.record.image and "/" not in record.record.image.file_name for record in records)


@pytest.mark.parametrize("name", ["llava", "reason_seg", "labelme", "refcoco"])
def test_every_family_takes_named_folders(name: str, tmp_path: Path) -> None:
    root, images = tmp_path / "raw", tmp_path / "pictures"
    root.mkdir()
    points = [[8, 8], [40, 8], [40, 32]]
    if name == "llava":
        said = [{"from": "human", "value": "<image>what?"}, {"from": "gpt", "value": "that"}]
        (root / "llava_v1_5_mix665k.json").write_text(
            json.dumps([{"image": "coco/train2017/1.jpg", "conversations": said}])
        )
        put(images / "train2017/1.jpg")
    elif name == "reason_seg":
        (root / "reason_seg/train").mkdir(parents=True)
        content = {"text": ["it"], "is_sentence": False, "shapes": [{"label": "target", "points": points}]}
        (root / "reason_seg/train/a.json").write_text(json.dumps(content))
        put(images / "a.jpg")
    elif name == "labelme":
        content = {"imagePath": "..\\pictures\\a.jpg", "shapes": [{"label": "it", "points": points}]}
        (root / "a.json").write_text(json.dumps(content))
        put(images / "a.jpg")
    else:
        raw = Raw(root)
        raw.image(1, b"")
        raw.ref(1, "it")
        raw.save()
        put(images / PLACES)
    with pytest.raises(StampError):
        build(root, tmp_path / "out", name)
    assert built(root, tmp_path / "out", name, images=(images,)) == (1, [])


@pytest.mark.parametrize(
    ("name", "there"), [("a.jpg", "images/a.jpg"), ("demo/images/a.jpg", "images/a.jpg"), ("x/a.jpg", "a.jpg")]
)
def test_pictures_of_ones_own_conversations(name: str, there: str, tmp_path: Path) -> None:
    said = [{"from": "human", "value": "<image>what?"}, {"from": "gpt", "value": "that"}]
    path = put(tmp_path / "demo/mine.json", json.dumps([{"image": name, "conversations": said}]).encode())
    put(tmp_path / "demo" / there)
    assert built(path, tmp_path / "out", "llava") == (1, [])


def test_a_folder_that_is_named_has_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"--images .*: no such folder"):
        open_sources(Job(("coco",), tmp_path, tmp_path, images=(tmp_path / "gone",)))


def test_a_set_that_lacked_pictures_takes_them_once_their_folder_is_named(tmp_path: Path) -> None:
    coco(tmp_path / "raw/mine.json", "a.jpg", "b.jpg")
    put(tmp_path / "raw/a.jpg")
    put(tmp_path / "more/b.jpg")
    count, (why,) = built(tmp_path / "raw/mine.json", tmp_path / "out", "coco")
    assert count == 1 and why == "b.jpg: no such file; --images DIR names the folder that it lies in"
    assert built(tmp_path / "raw/mine.json", tmp_path / "out", "coco", images=(tmp_path / "more",)) == (2, [])


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """RefCOCO whose folder of pictures is a link to another disk, as most instructions have it."""
    raw = Raw(tmp_path / "raw")
    raw.image(1)
    raw.ref(1, "it")
    raw.pictures.rename(tmp_path / "disk")
    raw.pictures.symlink_to(tmp_path / "disk")
    return raw.save()


def test_links_out_of_the_root_are_followed_if_they_are_meant(
    linked: Path, tmp_path: Path, stamp_data: Command
) -> None:
    refused = stamp_data("build", "refcoco", "--root", linked, "--out", tmp_path / "out")
    assert refused.returncode == 1 and "--follow-links" in one_line(refused.stderr)
    (told,) = [one for one in examine(linked).findings if "picture" in one.code]
    assert told.level == "error" and "--follow-links" in told.remedy
    for workers in (1, 2):
        assert built(linked, tmp_path / str(workers), "refcoco", follow_links=True, workers=workers) == (1, [])
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert not [one for one in examine(linked, reading=Reading(follow_links=True)).findings if "picture" in one.code]


def test_a_repair_finds_pictures_as_the_build_did(linked: Path, tmp_path: Path, stamp_data: Command) -> None:
    assert built(linked, tmp_path / "out", "refcoco", follow_links=True) == (1, [])
    before = tree(tmp_path / "out")
    shard = tmp_path / "out/refcoco-unc/train/shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-600])
    mended = stamp_data("verify", tmp_path / "out", "--repair", "--root", linked, "--follow-links")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [("gone", "--images"), ("cut", "whole copy"), ("size", "other sizes"), ("folder", "see that it is a file")],
)
def test_doctor_says_what_helps_and_never_to_load_again_what_is_there(fault: str, remedy: str, tmp_path: Path) -> None:
    raw = Raw(tmp_path / "raw")
    path = raw.image(1, picture((WIDTH, 9)) if fault == "size" else picture()[:-300] if fault == "cut" else None)
    raw.ref(1, "it")
    raw.save()
    if fault in ("gone", "folder"):
        path.unlink()
    if fault == "folder":
        path.mkdir()
    (found,) = [one for one in examine(tmp_path / "raw").findings if one.code == "picture-unusable"]
    assert remedy in found.remedy
    assert fault == "gone" or "download" not in found.remedy


def test_doctor_finds_pictures_in_named_folders(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "raw")
    raw.image(1, b"")
    raw.ref(1, "it")
    raw.save()
    raw.pictures.rmdir()
    put(tmp_path / "more" / PLACES)
    codes = {one.code for one in examine(tmp_path / "raw").findings}
    assert {"picture-unusable", "pictures-missing"} <= codes
    named = {one.code for one in examine(tmp_path / "raw", reading=Reading(images=(tmp_path / "more",))).findings}
    assert not {"picture-unusable", "pictures-missing"} & named


def test_the_picture_inside_a_labelme_file_is_stored(tmp_path: Path) -> None:
    content = {
        "imagePath": "a.jpg",
        "imageData": base64.b64encode(picture()).decode(),
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": [{"label": "it", "points": [[8, 8], [40, 8], [40, 32]]}],
    }
    root = tmp_path / "raw"
    put(root / "a.json", json.dumps(content).encode())
    put(root / "b.json", json.dumps(content | {"imagePath": "b.jpg", "imageData": "?"}).encode())
    uri = "data:image/jpeg;base64," + base64.encodebytes(picture(shade=7)).decode()
    put(root / "d.json", json.dumps(content | {"imagePath": "d.jpg", "imageData": uri}).encode())
    put(root / "c.json", json.dumps(content | {"imagePath": "c.jpg", "imageData": None}).encode())
    (done,) = build(root, tmp_path / "out", "labelme")
    records, rejects = read_set(done.folder)
    pictures = {one.record.image.file_name: one.image for one in records if one.record.image}
    assert pictures == {"a.jpg": picture(), "d.jpg": picture(shade=7)}
    assert sorted((row.file, row.reason, row.detail) for row in rejects) == [
        ("b.jpg", "picture-broken", "b.json: its imageData is no picture in base64"),
        ("c.jpg", "picture-missing", "c.jpg: no such file; --images DIR names the folder that it lies in"),
    ]
    assert [one for one in examine(root).datasets if one.dataset == "labelme"]
    (tmp_path / "more").mkdir()
    (done,) = build(root, tmp_path / "again", "labelme", images=(tmp_path / "more",))
    assert {one.image for one in read_set(done.folder)[0]} == set(pictures.values())


def test_names_that_fit_equally_well_are_told_and_once_one_is_left_it_is_taken(tmp_path: Path) -> None:
    coco(tmp_path / "raw/annotations/instances_train.json", "a.jpg", "/abs/b.jpg", "c.jpg")
    for name in ("raw/images/A.jpg", "raw/images/a.JPG", "raw/images/c.jpg", "more/x/B.jpg", "more/x/b.JPG"):
        put(tmp_path / name)
    records, refused = built(tmp_path / "raw", tmp_path / "out", "coco", images=(tmp_path / "more",))
    assert records == 1 and len(refused) == 2
    assert (
        "images/a.jpg: ambiguous: images/A.jpg, images/a.JPG fit equally well; rename one, or take it away" in refused
    )
    assert any(detail.endswith("elsewhere x/B.jpg, x/b.JPG fit equally well") for detail in refused)
    (tmp_path / "raw/images/a.JPG").unlink()
    assert built(tmp_path / "raw", tmp_path / "out", "coco", images=(tmp_path / "more",))[0] == 2


@pytest.mark.parametrize("name", ["", "a\nb.jpg", "/"])
def test_what_is_no_name_is_not_looked_for_elsewhere(tmp_path: Path, name: str) -> None:
    coco(tmp_path / "raw/annotations/instances_train.json", name)
    with pytest.raises(StampError) as fault:
        build(tmp_path / "raw", tmp_path / "out", "coco")
    assert "--images" not in str(fault.value)
    report = examine(tmp_path / "raw")
    findings = report.findings
    assert [one.state for one in report.datasets if one.dataset == "coco"] == ["broken"]
    assert [one.code for one in findings if one.level == "error"] == ["nothing-usable"]
