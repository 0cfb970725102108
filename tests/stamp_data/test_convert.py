"""`convert` is build and export in one go: what comes out is what the two give, and nothing else is left."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stamp_data.build.jobs import Job
from stamp_data.convert import Way, convert, format_of, origin_of
from stamp_data.executors.local import LocalExecutor
from stamp_data.export import FORMATS, export_sets
from stamp_data.shards.manifest import find_sets
from stamp_schemas import StampError, UsageFault

from .making import tree
from .raw import Running, picture
from .sources.raw import write_json

IMAGES = 40  # of the fixture `root`

JOB = Job((), Path(), Path(), min_tokens=4, max_tokens=16)


def go(source: Path | str, out: Path, **way: Any) -> Any:
    return convert(str(source), out, Way(JOB, **way), lambda: LocalExecutor(1), lambda *_: None)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """COCO with a phrase, one that names nothing, and an annotation that cannot be used."""
    (tmp_path / "pets/images").mkdir(parents=True)
    (tmp_path / "pets/images/a.jpg").write_bytes(picture((64, 48)))
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[8, 8, 40, 8, 40, 32]], "expression": "the dog"},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [], "expression": "a cow", "no_target": True},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": [], "expression": "the cat"},
    ]
    content = {"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}], "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "dog"}]
    write_json(tmp_path / "pets/annotations/instances_val.json", content)
    return tmp_path / "pets"


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_it_gives_what_build_and_export_give(to: str, pets: Path, tmp_path: Path) -> None:
    done = go(pets, tmp_path / "one", to=to, allow_loss=True, shards=tmp_path / "kept")
    export_sets(find_sets(tmp_path / "kept"), to, tmp_path / "two", allow_loss=True)
    once, twice = tree(tmp_path / "one"), tree(tmp_path / "two")
    rejects = once.pop("rejects.jsonl")
    assert once == twice and (done.origin, done.rejects) == ("coco", 2)
    assert [json.loads(line)["reason"] for line in rejects.splitlines()] == ["empty-segmentation", "target-refused"]
    assert "2 rejects (see" in done.summary()


def test_nothing_is_left_but_the_new_folder(pets: Path, tmp_path: Path) -> None:
    go(pets, tmp_path / "new" / "pets-masks")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["pets-masks"]
    row = (tmp_path / "new/pets-masks/coco/val.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["phrase"] for line in row] == [["the dog"], ["a cow"]]


def test_shard_sets_go_out_as_they_are(pets: Path, tmp_path: Path) -> None:
    go(pets, tmp_path / "a-coco", shards=tmp_path / "kept")
    done = go(tmp_path / "kept", tmp_path / "b-coco")
    assert done.origin == "shards"
    with pytest.raises(UsageFault, match=r"--shards is for raw data"):
        go(tmp_path / "kept", tmp_path / "c-coco", shards=tmp_path / "more")
    split = Way(msgspec.structs.replace(JOB, splits=("val",)))
    with pytest.raises(UsageFault, match=r"--split is for raw data"):
        convert(str(tmp_path / "kept"), tmp_path / "c-coco", split, lambda: LocalExecutor(1), lambda *_: None)
    (tmp_path / "a-coco/rejects.jsonl").unlink()
    assert tree(tmp_path / "a-coco") == tree(tmp_path / "b-coco")


@pytest.mark.parametrize("to", ["coco", "labelme", "label_studio", "saco", "masks"])
def test_what_was_written_is_known_again(to: str, pets: Path, tmp_path: Path) -> None:
    go(pets, tmp_path / "there", to=to)
    assert origin_of(str(tmp_path / "there")) == to
    done = go(tmp_path / "there", tmp_path / "back-coco")
    assert (done.origin, done.export.written.dialogues, done.rejects) == (to, 2, 0)


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    talk = {"id": "1", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Nobody."}]}
    write_json(tmp_path / "talk.json", [talk])
    assert origin_of(str(tmp_path / "talk.json")) == "llava"
    assert go(tmp_path / "talk.json", tmp_path / "talk-openai").export.written.dialogues == 1


def test_formats_by_the_names_of_folders() -> None:
    known = {to: format_of(Path(f"my-{to}")) for to in FORMATS}
    assert known == {to: to for to in FORMATS}
    assert format_of(Path("Pets_Label-Studio")) == "label_studio" and format_of(Path("refcoco.masks")) == "masks"
    for name, match in (("pets", "no format"), ("refcoco", "no format"), ("coco-labelme", "coco and labelme")):
        with pytest.raises(UsageFault, match=match) as caught:
            format_of(Path(name))
        assert "--to" in caught.value.hint


def no_picture(pets: Path) -> None:
    (pets / "images/a.jpg").unlink()


def no_phrase(pets: Path) -> None:
    write_json(pets / "annotations/instances_val.json", {"images": [], "annotations": [], "categories": []})


def no_json(pets: Path) -> None:
    (pets / "annotations/instances_val.json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize("spoil", [no_picture, no_phrase, no_json])
def test_where_nothing_can_be_built_nothing_is_left(spoil: Callable[[Path], None], pets: Path, tmp_path: Path) -> None:
    spoil(pets)
    with pytest.raises(StampError) as caught:
        go(pets, tmp_path / "pets-coco")
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert str(os.getpid()) not in str(caught.value)  # of a folder that is gone
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_a_loss_that_is_not_allowed_leaves_nothing(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(StampError, match="masks") as caught:
        go(pets, tmp_path / "pets-openai")
    assert "--allow-loss" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_calls_that_are_wrong(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for source, out, way, match in (
        (tmp_path / "nowhere", tmp_path / "a-coco", {}, "does not exist"),
        (pets, pets, {"to": "coco"}, "is there already"),
        (pets, tmp_path / "a", {"to": "cocoa"}, "'cocoa'"),
        (pets, tmp_path / "a-coco", {"origin": "cocoa"}, "no dataset is called"),
    ):
        with pytest.raises(UsageFault, match=match):
            go(source, out, **way)
    with pytest.raises(StampError, match="no format that is known"):
        go(tmp_path / "raw", tmp_path / "a-coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets", "raw"]


@pytest.mark.parametrize(
    ("out", "shards"), [("b-coco", "b-coco"), ("b-coco", "b-coco/shards"), ("coco", "."), ("coco/new-coco", ".")]
)
def test_sets_that_would_lie_in_the_new_folder_are_refused_at_once(
    out: str, shards: str, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it in theirs: either is to be new, and one is written after the other."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageFault, match="--shards"):
        go(pets, Path(out), shards=Path(shards))
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_several_formats_are_named(pets: Path, tmp_path: Path) -> None:
    (pets / "masks.csv").write_text("image,mask,phrase\na.jpg,,a cow\n", encoding="utf-8")
    with pytest.raises(UsageFault, match="may be coco, masks") as caught:
        go(pets, tmp_path / "a-coco")
    assert "--from coco" in caught.value.hint
    assert go(pets, tmp_path / "a-coco", origin="masks").origin == "masks"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")
def test_ctrl_c_leaves_nothing(root: Path, tmp_path: Path) -> None:
    running = Running("convert", root, tmp_path / "out-coco", "--from", "refcoco", "--workers", 2)
    running.wait_for("planning")
    time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    code, said = running.finish()
    assert code == 130 and "Traceback" not in said
    assert running.left_over() == [] and not list(tmp_path.iterdir())
