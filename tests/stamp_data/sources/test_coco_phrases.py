"""COCO files of one's own: a phrase is built on all that it names, or not at all; ids are names; crowds and nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stamp_data.sources import Reading
from stamp_data.sources.base import AS_USUAL
from stamp_schemas import Annotation, Reject

from .raw import SQUARE, Json, annotation, image, instances, read, reasons, write_json

RLE = {"size": [48, 64], "counts": [100, 20, 2952]}


def coco(
    tmp_path: Path,
    annotations: list[Json],
    images: list[Json] | None = None,
    reading: Reading = AS_USUAL,
    **more: object,
) -> tuple[list[Annotation], list[Reject]]:
    held = instances([image(1)] if images is None else images, annotations) | more
    return read("coco", write_json(tmp_path / "mine.json", held), reading=reading)


def said(record: Annotation) -> dict[str, list[str]]:
    """Records of the regions of every phrase, the ignored ones with a minus."""
    return {
        request.text: [
            f"{'-' if region.role == 'ignore' else ''}{region.where[1]}"
            for index in request.targets
            for region in record.targets[index].regions
        ]
        for request in record.requests
    }


def without(entry: Json, *keys: str) -> Json:
    return {key: value for key, value in entry.items() if key not in keys}


@pytest.mark.parametrize(
    ("one", "other", "instances_named"),
    [
        (annotation(5, 1), annotation(5, 1, segmentation=RLE), ["n0", "n1"]),
        (annotation(5, 1), without(annotation(6, 1), "id"), ["5", "n1"]),
        (without(annotation(5, 1), "id"), without(annotation(6, 1), "id"), ["n0", "n1"]),
        (annotation(5, 1), {**annotation(6, 1), "id": None}, ["5", "n1"]),
        (annotation(5, 1), {**annotation(6, 1), "id": [6]}, ["5", "n1"]),
        ({**annotation(5, 1), "id": 5.0}, {**annotation(6, 1), "id": "6"}, ["5", "6"]),
        ({**annotation(5, 1), "image_id": 1.0}, {**annotation(6, 1), "image_id": "1", "category_id": 1.0}, ["5", "6"]),
    ],
)
def test_ids_are_names_and_no_reason_to_drop(
    tmp_path: Path, one: Json, other: Json, instances_named: list[str]
) -> None:
    (record,), rejects = coco(tmp_path, [one, other])
    assert not rejects
    ((phrase, regions),) = said(record).items()
    assert phrase == "cup" and len(regions) == 2 and record.targets[0].instances == instances_named


def test_things_whose_ids_repeat_are_still_told_apart(tmp_path: Path) -> None:
    entries = [annotation(5, 1, expression="left"), annotation(5, 1, expression="right", segmentation=RLE)]
    (record,), rejects = coco(tmp_path, entries)
    assert said(record) == {"left": ["annotations[0]"], "right": ["annotations[1]"]} and not rejects
    assert len({target.id for target in record.targets}) == 2


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (annotation(7, 1, segmentation=None), "bad-segmentation"),
        (annotation(7, 1, segmentation="1 2 3"), "bad-segmentation"),
        (without(annotation(7, 1), "segmentation"), "bad-segmentation"),
        (annotation(7, 1, no_target="yes"), "bad-annotation"),
        (annotation(7, 1, ignored_by=[6]), "bad-annotation"),
        ({**annotation(7, 1), "iscrowd": "maybe"}, "bad-annotation"),
        ({**annotation(7, 1), "iscrowd": [0]}, "bad-annotation"),
    ],
)
def test_an_unusable_annotation_takes_its_phrase_with_it_and_the_row_names_both(
    tmp_path: Path, broken: Json, reason: str
) -> None:
    (record,), (row,) = coco(tmp_path, [annotation(6, 1), broken, annotation(8, 1, expression="a bowl")])
    assert said(record) == {"a bowl": ["annotation 8"]}
    assert (row.record, row.reason, row.expressions) == ("annotation 7", reason, 1) and "'cup'" in row.detail


@pytest.mark.parametrize(
    "broken",
    [
        annotation(7, 1, expression="half \ud83d"),
        annotation(7, 1, expressions=["half \ud83d"]),
        annotation(7, 1, expression=5),
        annotation(7, 1, expressions="a cup"),
        annotation(7, 1, caption=["a cup"]),
    ],
)
def test_a_text_that_cannot_be_read_costs_itself_and_nothing_is_said_in_its_place(tmp_path: Path, broken: Json) -> None:
    (record,), (row,) = coco(tmp_path, [annotation(6, 1), broken])
    assert said(record) == {"cup": ["annotation 6"]}
    assert (row.record, row.reason, row.expressions) == ("annotation 7", "bad-sentence", 1)


def test_of_several_texts_the_readable_ones_are_kept(tmp_path: Path) -> None:
    (record,), rejects = coco(tmp_path, [annotation(7, 1, expressions=["one", "half \ud83d", 3.0, "two"])])
    assert list(said(record)) == ["one", "two"] and reasons(rejects) == [("bad-sentence", 1)] * 2


def test_phrases_are_cleaned_before_they_are_compared(tmp_path: Path) -> None:
    texts = ["dog", "dog ", " dog", "dog\n", "do\tg", "<image>dog"]
    entries = [annotation(number, 1, expression=text) for number, text in enumerate(texts)]
    (record,), (row,) = coco(tmp_path, entries)
    assert {phrase: len(regions) for phrase, regions in said(record).items()} == {"dog": 5, "do g": 1}
    assert (row.record, row.reason, row.action) == ("annotation 5", "control-token", "cleaned")


@pytest.mark.parametrize("size", [(0, 0), (None, None)])
def test_sizes_of_nought_are_read_from_the_picture(tmp_path: Path, size: tuple[int | None, int | None]) -> None:
    (record,), rejects = coco(tmp_path, [annotation(6, 1)], [image(1, width=size[0], height=size[1])])
    assert record.image is not None and record.image.width is record.image.height is None and not rejects


@pytest.mark.parametrize("size", [(64.0, 48.0), ("64", "48"), (" 64", 48)])
def test_sizes_may_be_whole_floats_or_texts(tmp_path: Path, size: tuple[object, object]) -> None:
    (record,), rejects = coco(
        tmp_path, [annotation(6, 1)], [{**image(1), "id": 1.0, "width": size[0], "height": size[1]}]
    )
    assert record.image is not None and (record.image.width, record.image.height) == (64, 48) and not rejects


@pytest.mark.parametrize("size", [("wide", 48), (64.5, 48), (True, 48), (-64, 48), (0, 48)])
def test_other_sizes_are_refused(tmp_path: Path, size: tuple[object, object]) -> None:
    records, rejects = coco(tmp_path, [annotation(6, 1)], [image(1, width=size[0], height=size[1])])
    assert not records and rejects[0].reason == "bad-image"


# --- crowds ----------------------------------------------------------------------------------------------------------

CROWD = annotation(9, 1, iscrowd=1, segmentation=RLE)


def test_a_crowd_counts_neither_for_nor_against_its_phrase(tmp_path: Path) -> None:
    (record,), (row,) = coco(tmp_path, [annotation(6, 1), CROWD, annotation(7, 1, expression="left cup")])
    assert said(record) == {"cup": ["annotation 6", "-annotation 9"], "left cup": ["annotation 7"]}
    assert (row.record, row.reason, row.action) == ("annotations", "crowd-ignored", "cleaned")
    assert row.detail.startswith("1 with iscrowd 1") and "--crowd instance" in row.detail


@pytest.mark.parametrize("value", [1, True, 1.0, "1"])
def test_a_phrase_of_crowds_alone_is_refused_with_the_way_out(tmp_path: Path, value: object) -> None:
    records, (row, _) = coco(tmp_path, [{**CROWD, "iscrowd": value}])
    assert not records and (row.record, row.reason, row.expressions) == ("image 1", "crowd-only", 1)
    assert "--crowd instance" in row.detail


def test_crowds_may_be_declared_to_be_instances(tmp_path: Path) -> None:
    (record,), rejects = coco(tmp_path, [annotation(6, 1), CROWD], reading=Reading(crowd="instance"))
    assert said(record) == {"cup": ["annotation 6", "annotation 9"]} and not rejects


def test_phrases_for_one_thing_share_no_target_if_they_ignore_different_things(tmp_path: Path) -> None:
    entries = [annotation(6, 1, expressions=["cup", "left"]), {**CROWD, "expression": "cup"}]
    (record,), _ = coco(tmp_path, entries)
    assert said(record) == {"cup": ["annotation 6", "-annotation 9"], "left": ["annotation 6"]}


# --- nothing here ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [{"segmentation": []}, {"segmentation": None}, {"segmentation": {}}, {}])
def test_phrases_may_say_that_they_name_nothing(tmp_path: Path, shown: Json) -> None:
    nothing = {"id": 3, "image_id": 1, "no_target": True, "expressions": ["a dog", "a cat"], **shown}
    (record,), rejects = coco(tmp_path, [annotation(6, 1), nothing])
    assert said(record) == {"cup": ["annotation 6"], "a dog": [], "a cat": []} and not rejects
    assert [target.id for target in record.targets] == ["6", "none"]


def test_without_the_word_an_empty_segmentation_is_not_nothing(tmp_path: Path) -> None:
    for entry in (
        {"id": 3, "image_id": 1, "expressions": ["a dog"]},
        annotation(3, 1, no_target=False, segmentation=None),
    ):
        records, (row,) = coco(tmp_path, [entry])
        assert not records and row.reason == "bad-segmentation"


def test_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    nothing = {"id": 3, "image_id": 1, "no_target": True, "expression": "cup"}
    records, (row,) = coco(tmp_path, [annotation(6, 1), nothing])
    assert not records and (row.reason, row.expressions) == ("contradictory-phrase", 1) and "'cup'" in row.detail
    records, (row,) = coco(tmp_path, [{**nothing, "segmentation": SQUARE}])
    assert not records and (row.record, row.reason) == ("annotation 3", "contradictory-phrase")


# --- our own export --------------------------------------------------------------------------------------------------


def dialogue(number: int, ann_ids: list[int], expression: str, image_id: int | None = 1) -> Json:
    return {"ref_id": number, "image_id": image_id, "ann_ids": ann_ids, "expression": expression, "messages": []}


def test_dialogues_of_our_own_export_come_back(tmp_path: Path) -> None:
    entries = [
        annotation(1, 1, expressions=["left", "the one"]),
        annotation(2, 1, expressions=["the one"], segmentation=RLE),
        annotation(3, 1, iscrowd=1, ignored_by=2, segmentation=RLE),
        annotation(4, 1, iscrowd=1, ignored_by=-1, segmentation=RLE),
    ]
    refs = [
        dialogue(1, [1], "left"), dialogue(2, [1], "the one"), dialogue(3, [2], "the one"), dialogue(4, [-1], "a dog"),
        dialogue(5, [2, 1], "both"), dialogue(6, [1], "left"), dialogue(7, [], ""), dialogue(8, [], "", None),
    ]  # fmt: skip
    (record,), rejects = coco(tmp_path, entries, refs=refs)
    where = [region.where[1] for region in record.targets[2].regions]
    assert where == ["annotation 4"] and record.targets[2].id == "none"
    found = [(r.text, [record.targets[index].id for index in r.targets]) for r in record.requests]
    assert found == [("left", ["1"]), ("the one", ["1"]), ("the one", ["2"]), ("a dog", ["none"]), ("both", ["2", "1"])]
    assert [(r.where[1], r.role) for r in record.targets[1].regions] == [
        ("annotation 2", "target"), ("annotation 3", "ignore"),
    ]  # fmt: skip
    assert reasons(rejects) == [("conversation-skipped", 1)] * 2


def test_what_was_added_to_our_own_export_is_read_as_usual(tmp_path: Path) -> None:
    entries = [annotation(1, 1), annotation(2, 1), annotation(3, 1, segmentation=RLE)]
    (record,), rejects = coco(tmp_path, entries, refs=[dialogue(1, [1], "left")])
    assert said(record) == {"cup": ["annotation 2", "annotation 3"], "left": ["annotation 1"]} and not rejects


def test_a_dialogue_is_lost_with_its_annotation_or_with_what_is_ignored_around_it(tmp_path: Path) -> None:
    entries = [annotation(1, 1, segmentation=None), annotation(2, 1), annotation(3, 1, ignored_by=2, segmentation="x")]
    refs = [
        dialogue(1, [1], "left"),
        dialogue(2, [2], "right"),
        dialogue(3, [9], "gone"),
        {"image_id": 1, "ann_ids": 3},
    ]
    records, rejects = coco(tmp_path, entries, refs=refs)
    assert not records
    assert [(row.record, row.reason, row.expressions) for row in rejects] == [
        ("refs[3]", "bad-reference", 1),
        ("refs[0]", "bad-segmentation", 1),
        ("refs[1]", "bad-segmentation", 1),
        ("refs[2]", "annotation-missing", 1),
    ]
    assert "annotation 1" in rejects[1].detail and "annotation 3" in rejects[2].detail


# --- pictures listed several times -----------------------------------------------------------------------------------


def test_categories_of_a_picture_that_is_listed_several_times_are_no_phrases(tmp_path: Path) -> None:
    images = [image(1), image(2, file_name=image(1)["file_name"]), image(3)]
    entries = [annotation(1, 1), annotation(2, 2), annotation(3, 3), annotation(4, 2, expression="the left one")]
    records, rejects = coco(tmp_path, entries, images)
    assert [said(record) for record in records] == [{"the left one": ["annotation 4"]}, {"cup": ["annotation 3"]}]
    assert [(row.record, row.reason) for row in rejects] == [
        ("annotation 1", "duplicate-picture"), ("annotation 2", "duplicate-picture"),
    ]  # fmt: skip


def test_two_pictures_of_one_id_cost_its_phrases(tmp_path: Path) -> None:
    images = [image(1), image(1, file_name="other.jpg"), image(2)]
    (record,), (row,) = coco(tmp_path, [annotation(1, 1), annotation(2, 2)], images)
    assert record.id == "2" and (row.record, row.reason, row.expressions) == ("image 1", "duplicate-id", 1)
    assert "other.jpg" in row.detail


def test_another_encoding(tmp_path: Path) -> None:
    held = instances([image(1)], [annotation(1, 1, expression="红色方块")])
    (tmp_path / "mine.json").write_bytes(json.dumps(held, ensure_ascii=False).encode("gbk"))
    (record,), _ = read("coco", tmp_path / "mine.json", reading=Reading(encoding="gbk"))
    assert list(said(record)) == ["红色方块"]


def test_a_category_of_two_names_is_none(tmp_path: Path) -> None:
    """As in files that were merged by hand."""
    categories = [
        {"id": 1, "name": "cup"},
        {"id": 2, "name": "bowl"},
        {"id": 1.0, "name": "dog"},
        {"id": 2, "name": "bowl"},
    ]
    entries = [annotation(1, 1), {**annotation(2, 1), "category_id": 2}, annotation(3, 1, expression="a cup")]
    (record,), rejects = coco(tmp_path, entries, categories=categories)
    assert said(record) == {"bowl": ["annotation 2"], "a cup": ["annotation 3"]}
    assert record.targets[1].categories == []
    assert [(row.record, row.reason) for row in rejects] == [
        ("categories[2]", "duplicate-id"),
        ("annotation 1", "no-phrase"),
    ]
