"""RefCOCO and its sisters: what a reference becomes, and what becomes of a broken one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stamp_data.sources import open_source
from stamp_data.sources.faults import REASONS
from stamp_schemas import StampError

from .raw import annotation, image, instances, read, reasons, ref, some_refs, two_images, write_json, write_refer


def test_one_record_per_image_one_target_per_annotation_one_request_per_sentence(tmp_path: Path) -> None:
    records, rejects = read("refcoco", write_refer(tmp_path, some_refs(), two_images()))
    assert not rejects
    (record,) = records
    assert record.id == "1"
    assert [target.id for target in record.targets] == ["11", "12"]
    assert [target.categories for target in record.targets] == [["cup"], ["cup"]]
    assert [(r.id, r.text, r.targets) for r in record.requests] == [
        ("0", "left cup", [0]),
        ("1", "the red one", [0]),
        ("10", "right cup", [1]),
    ]
    assert record.image is not None and (record.image.width, record.image.height) == (64, 48)
    assert json.loads(bytes(record.targets[0].regions[0].segmentation)) == annotation(11, 1)["segmentation"]
    assert record.requests[0].where == ("refer_seg/refcoco/refs(unc).p", "ref 0 sentence 0")


def test_a_split_holds_its_own_references_only(tmp_path: Path) -> None:
    root = write_refer(tmp_path, some_refs(), two_images())
    source = open_source("refcoco", root)
    source.load()
    assert source.splits() == ["train", "val", "testA"]
    (record,), _ = read("refcoco", root, "testA")
    assert [r.text for r in record.requests] == ["cup on the left"] and len(record.targets) == 1


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("testA,B", ["testA", "testB"]),
        ("testA,testB", ["testA", "testB"]),
        ("testB, testC", ["testB", "testC"]),
        ("testAB", ["testA", "testB"]),
        ("testC,A,B", ["testA", "testB", "testC"]),
        ("testA", ["testA"]),
        ("test", ["test"]),
        ("testAD", ["testAD"]),
    ],
)
def test_a_reference_counts_for_every_split_that_it_names(tmp_path: Path, name: str, splits: list[str]) -> None:
    """As in REFER, for RefCLEF's test splits."""
    refs = [
        ref(0, 11, 1, ["left cup"], name),
        ref(1, 999, 1, ["no cup"], name),
        {**ref(2, 11, 1, ["x"], name), "ann_id": []},
    ]
    source = open_source("refclef", write_refer(tmp_path, refs, two_images(), "refclef"))
    source.load()
    assert source.splits() == splits
    for split in splits:
        (record,), rejects = read("refclef", tmp_path, split)
        assert [r.text for r in record.requests] == ["left cup"]
        assert reasons(rejects) == [("annotation-missing", 1), ("bad-reference", 1)]


@pytest.mark.parametrize("layout", ["images/coco_2014/train2014", "images/mscoco/images/train2014"])
@pytest.mark.parametrize("at_refer_seg", [False, True])
def test_both_layouts_and_both_roots(tmp_path: Path, layout: str, at_refer_seg: bool) -> None:
    write_refer(tmp_path, some_refs(), two_images())
    (tmp_path / "refer_seg" / layout).mkdir(parents=True)
    root = tmp_path / "refer_seg" if at_refer_seg else tmp_path
    (record,), _ = read("refcoco", root)
    prefix = "" if at_refer_seg else "refer_seg/"
    assert record.image is not None
    assert record.image.path == f"{prefix}{layout}/COCO_train2014_000000000001.jpg"


def test_refclef_keeps_the_folder_of_its_pictures(tmp_path: Path) -> None:
    held = instances([image(7, file_name="00/images/7.jpg")], [annotation(1, 7)])
    (record,), _ = read(
        "refclef", write_refer(tmp_path, [ref(0, 1, 7, ["sky"])], held, "refclef", "berkeley"), "train", "berkeley"
    )
    assert record.image is not None and record.image.path == "refer_seg/images/saiapr_tc-12/00/images/7.jpg"


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    records, rejects = read("refcoco", write_refer(tmp_path, some_refs(), two_images(), protocol=protocol))
    assert len(records[0].requests) == 3 and not rejects


def test_equal_sentence_ids_are_told_apart(tmp_path: Path) -> None:
    refs = [ref(0, 11, 1, ["a"]), ref(0, 12, 1, ["b"]), ref(0, 12, 1, ["c"])]
    (record,), _ = read("refcoco", write_refer(tmp_path, refs, two_images()))
    assert [(r.id, r.text) for r in record.requests] == [("0", "a"), ("0-2", "b"), ("0-3", "c")]


BROKEN = {
    "no annotation": (ref(9, 999, 1, ["a", "b"]), ("annotation-missing", 2)),
    "none where one is meant": (ref(9, -1, 1, ["a"]), ("annotation-missing", 1)),
    "two where one is meant": (ref(9, [11, 12], 1, ["a"]), ("bad-reference", 1)),
    "no image": (ref(9, 11, 77, ["a", "b", "c"]), ("image-missing", 3)),
    "another image": (ref(9, 21, 1, ["a"]), ("image-mismatch", 1)),
    "no id": (ref(9, None, 1, ["a"]), ("bad-reference", 1)),
    "a number for sentences": (ref(9, 11, 1, [], sentences=5), ("bad-reference", 0)),
    "no split": (ref(9, 11, 1, ["a"], split=None), ("bad-reference", 1)),  # type: ignore[arg-type]
    "not even an object": (7, ("bad-reference", 0)),
    "an empty text": (ref(9, 11, 1, ["  "]), ("empty-text", 1)),
    "no text": (ref(9, 11, 1, [None]), ("bad-sentence", 1)),
    "half a character": (ref(9, 11, 1, ["a\udc80"]), ("bad-sentence", 1)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_reference_is_a_row_and_the_rest_is_read(tmp_path: Path, case: str) -> None:
    broken, row = BROKEN[case]
    records, rejects = read("refcoco", write_refer(tmp_path, [*some_refs(), broken], two_images(), protocol=2))
    assert sum(len(record.requests) for record in records) == 3
    assert reasons(rejects) == [row]
    assert rejects[0].reason in REASONS and rejects[0].file.startswith("refer_seg/refcoco/")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (annotation(11, 1, segmentation=None), [("bad-segmentation", 2)]),
        (annotation(11, 1, segmentation="é"), [("bad-segmentation", 2)]),
        ({"id": 11, "image_id": 1}, [("bad-segmentation", 2)]),
        ({"id": 11}, [("annotation-missing", 2), ("bad-annotation", 0)]),
        ("eleven", [("annotation-missing", 2), ("bad-annotation", 0)]),
    ],
)
def test_a_broken_annotation_costs_its_references(
    tmp_path: Path, entry: object, expected: list[tuple[str, int]]
) -> None:
    held = two_images() | {"annotations": [entry, annotation(12, 1)]}
    (record,), rejects = read("refcoco", write_refer(tmp_path, some_refs(), held))
    assert [r.text for r in record.requests] == ["right cup"]
    assert reasons(rejects) == expected


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "C:\\x.jpg", "\\\\host\\x.jpg", "", ".", "a\0b", "a/"]
)
def test_names_that_leave_the_root_are_refused(tmp_path: Path, name: str) -> None:
    held = instances([image(1, file_name=name)], [annotation(11, 1), annotation(12, 1)])
    records, rejects = read("refcoco", write_refer(tmp_path, some_refs(), held))
    assert not records and reasons(rejects) == [("path-escape", 3)]


def test_not_a_number_is_left_for_the_mask_to_be_refused(tmp_path: Path) -> None:
    held = two_images() | {
        "note": 'a string with "NaN" in it',
        "annotations": [annotation(11, 1, segmentation=[[float("nan")] * 6])],
    }
    root = write_refer(tmp_path, some_refs()[:1], held)
    (record,), rejects = read("refcoco", root)
    assert json.loads(bytes(record.targets[0].regions[0].segmentation)) == [[None] * 6] and not rejects


def test_an_image_that_is_there_twice_is_used_if_its_entries_agree(tmp_path: Path) -> None:
    held = instances([image(1), image(1)], [annotation(11, 1), annotation(12, 1)])
    (record,), rejects = read("refcoco", write_refer(tmp_path, some_refs(), held))
    assert record.image is not None and record.image.width == 64 and not rejects
    held["images"][1]["width"] = 9
    records, rejects = read("refcoco", write_refer(tmp_path, some_refs(), held))
    assert not records and reasons(rejects) == [("duplicate-id", 3)]


def test_an_id_that_two_annotations_of_an_image_have_costs_its_references(tmp_path: Path) -> None:
    """Which of them is meant? Of two images, the one that the reference names; of one, nobody knows."""
    other = annotation(11, 1, segmentation=[[0, 0, 9, 0, 9, 9]])
    (record,), rejects = read(
        "refcoco",
        write_refer(tmp_path, some_refs(), instances([image(1)], [annotation(11, 1), other, annotation(12, 1)])),
    )
    assert [r.text for r in record.requests] == ["right cup"] and reasons(rejects) == [("duplicate-id", 2)]
    for twin in (annotation(11, 1), annotation(11, 2, segmentation=[[0, 0, 9, 0, 9, 9]])):
        held = instances([image(1), image(2)], [twin, annotation(11, 1), annotation(12, 1)])
        (record,), rejects = read("refcoco", write_refer(tmp_path, some_refs(), held))
        assert not rejects
        assert json.loads(bytes(record.targets[0].regions[0].segmentation)) == annotation(11, 1)["segmentation"]


@pytest.mark.parametrize("size", [0, -5])
def test_pictures_without_size(tmp_path: Path, size: int) -> None:
    held = instances([image(1, width=size)], [annotation(11, 1), annotation(12, 1)])
    records, rejects = read("refcoco", write_refer(tmp_path, some_refs(), held))
    assert not records and reasons(rejects) == [("bad-image", 3)]


def test_missing_files_are_told(tmp_path: Path) -> None:
    write_refer(tmp_path, some_refs(), two_images())
    (tmp_path / "refer_seg" / "refcoco" / "instances.json").unlink()
    with pytest.raises(StampError, match=r"instances\.json does not exist"):
        open_source("refcoco", tmp_path)
    with pytest.raises(StampError, match="split-bys found: unc"):
        open_source("refcoco", tmp_path, "google")


@pytest.mark.parametrize("value", [[], {"images": []}, {"images": {}, "annotations": []}, 3, None])
def test_an_instances_file_of_another_shape(tmp_path: Path, value: object) -> None:
    root = write_refer(tmp_path, some_refs(), two_images())
    write_json(root / "refer_seg/refcoco/instances.json", value)
    source = open_source("refcoco", root)
    with pytest.raises(StampError, match=r"instances\.json: .*not a file of this format"):
        source.load()


@pytest.mark.parametrize(
    ("name", "split_by", "split", "sentences"),
    [
        ("refcoco", "unc", "train", 5), ("refcoco", "google", "val", 2), ("refcoco+", "unc", "testA", 6),
        ("refcocog", "umd", "test", 4), ("refcocog", "google", "train", 4),
    ],
)  # fmt: skip
def test_real_records(real_data: Path, name: str, split_by: str, split: str, sentences: int) -> None:
    records, rejects = read(name, real_data, split, split_by)
    assert sum(len(record.requests) for record in records) == sentences and not rejects
    for record in records:
        assert record.image is not None and (real_data / record.image.path).is_file()
