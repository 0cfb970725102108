"""Folders of `annotate`, built."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stamp_data.annotate.change import Change
from stamp_data.annotate.store import Store
from stamp_data.doctor import examine
from stamp_data.sources import open_source

from ...annotate.making import drawn, image, mask, put_images, said
from .making import Said


def annotate(root: Path, *names: str) -> Path:
    """Pictures, and a folder of annotations within theirs."""
    put_images(root, *names)
    for name in names:
        Store(root / "annotations").change(image(name), 0, drawn())
    return root


def test_what_is_accepted_is_built_and_the_rest_is_a_row(tmp_path: Path) -> None:
    root = put_images(tmp_path / "data", "a.jpg")
    phrases = {
        "p1": said("p1", "the cup", ("m1",), status="accepted"),
        "p2": said("p2", "both", ("m1", "m2"), status="accepted"),
        "p3": said("p3", "a cow", (), nothing="absent", status="accepted"),
        "p4": said("p4", "that one", ("m3",), status="proposed"),
        "p5": said("p5", "<|seg|> the cup", ("m2",), status="accepted"),
    }
    masks = {name: mask(name, edges, categories=["cup"]) for name, edges in (
        ("m1", (8, 8, 40, 32)), ("m2", (50, 0, 60, 9)), ("m3", (0, 0, 3, 3)), ("m4", (0, 40, 5, 48)),
    )}  # fmt: skip
    masks["m5"] = mask("m5", (8, 8, 10, 10), role="ignore")
    Store(root / "annotations").change(image(), 0, Change(phrases, dict(masks)))
    found = Said(root, tmp_path / "out", "annotations")
    assert found.phrases == ["a cow", "both", "the cup"]
    assert not found.mask("a cow").any()
    ignored = np.zeros((48, 64), bool)
    ignored[8:10, 8:10] = True
    both = found.mask("both") | ignored
    assert both[8:32, 8:40].all() and both[0:9, 50:60].all() and both.sum() == 24 * 32 + 90
    reasons = [("mask m4", "no-phrase"), ("phrase p4", "not-accepted")]
    assert [row for row in found.reasons if row[1] != "control-token"] == reasons


def test_a_phrase_for_what_is_ignored_is_a_row(tmp_path: Path) -> None:
    root = annotate(tmp_path / "data", "a.jpg")
    masks = {"m2": mask("m2", (50, 0, 60, 9), role="ignore")}
    phrases = {"p2": said("p2", "the crowd", ("m2",), status="accepted")}
    Store(root / "annotations").change(image(), 1, Change(dict(phrases), dict(masks)))
    found = Said(root, tmp_path / "out", "annotations")
    assert found.phrases == ["the red cup"]
    assert [(row.record, row.reason, row.expressions) for row in found.rows] == [("phrase p2", "no-target", 1)]


def test_a_phrase_that_is_the_word_for_ignoring_is_a_row(tmp_path: Path) -> None:
    """What is ignored is said by a mask's role; other formats have only its name for that."""
    root = put_images(tmp_path / "data", "a.jpg")
    phrases = {
        "p1": said("p1", "the cup", ("m1",), status="accepted"),
        "p2": said("p2", " __ignore__", ("m2",), status="accepted"),
        "p3": said("p3", "__ignore__", ("m1",), status="accepted"),
    }
    masks = {"m1": mask("m1", (8, 8, 40, 32)), "m2": mask("m2", (8, 8, 20, 20))}
    Store(root / "annotations").change(image(), 0, Change(dict(phrases), dict(masks)))
    found = Said(root, tmp_path / "out", "annotations")
    assert found.phrases == ["the cup"] and found.mask("the cup").sum() == 24 * 32
    assert found.reasons == [("phrase p2", "reserved-words"), ("phrase p3", "reserved-words")]


def test_a_file_as_large_as_annotate_writes_them(tmp_path: Path) -> None:
    root = annotate(tmp_path / "data", "a.jpg")
    with (root / "annotations/a.jpg.json").open("ab") as file:
        file.write(b" " * (65 << 20))
    assert Said(root, tmp_path / "out", "annotations").phrases == ["the red cup"]


def test_pictures_are_found_from_either_folder(tmp_path: Path) -> None:
    root = annotate(tmp_path / "data", "a.jpg", "sub/b.png")
    for place in (root, root / "annotations"):
        found = Said(place, tmp_path / f"out-{place.name}", "annotations")
        assert not found.rows and sum(found.records.values()) == 2
    Store(tmp_path / "elsewhere").change(image("sub/b.png"), 0, drawn())
    found = Said(tmp_path / "elsewhere", tmp_path / "out3", "annotations", images=(root,))
    assert not found.rows and found.phrases == ["the red cup"]


def test_folders_are_splits_and_a_damaged_file_costs_itself_alone(tmp_path: Path) -> None:
    root = annotate(tmp_path / "data", "train/a.jpg", "val/b.jpg", "val/c.jpg")
    (root / "annotations/val/c.jpg.json").write_text('{"schema": "stamp.annotations/1", "image": {}}')
    found = Said(root, tmp_path / "out", "annotations")
    assert found.records == {"train": 1, "val": 1}
    assert [reason for _, reason in found.reasons] == ["unreadable-file"]


def test_doctor_examines_them(tmp_path: Path) -> None:
    root = annotate(tmp_path / "data", "a.jpg")
    result = examine(root)
    assert result.worst != "error" and "annotations" in str(result)
    assert open_source("annotations", root).inputs == [root / "annotations/a.jpg.json"]
