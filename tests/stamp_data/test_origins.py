"""`where` of every target and dialogue leads back to the raw record that it was made of, in every family."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.rle import UInt8
from stamp_data.shards.manifest import read_manifest
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.synth import synthesize
from stamp_data.verify import verify_set
from stamp_schemas import Record

from .making import assorted
from .making import build as build_set
from .raw import build

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools

REFER = ["refcoco", "refcoco+", "refcocog", "refclef", "grefcoco"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origins") / "raw"
    synthesize(folder, images=40, size=(96, 64), seed=5)
    for path in (folder / "reason_seg").rglob("*.json"):
        content = json.loads(path.read_text())
        if "shapes" in content:
            hidden = {"label": "ignore", "shape_type": "polygon", "points": [[0, 0], [9, 0], [9, 9], [0, 9]]}
            content["shapes"].insert(0, hidden)
            path.write_text(json.dumps(content))
    return folder


def records(root: Path, out: Path, name: str, **options: Any) -> Iterator[Loaded]:
    for one in build(root, out, name, **options):
        with ShardSet(one.folder) as shards:
            yield from shards


def raw_file(root: Path, name: str) -> Any:
    """The content of a raw file; pickles are those that the test has written."""
    data = (root / name).read_bytes()
    return pickle.loads(data) if name.endswith(".p") else json.loads(data)


def painted(segmentations: list[Any], height: int, width: int) -> UInt8:
    """Union of COCO segmentations, by pycocotools."""
    parts = []
    for one in segmentations:
        shapes = one if isinstance(one, list) else [one]
        plain = [coco_mask.frPyObjects(shape, height, width) if counted(shape) else shape for shape in shapes]
        parts += coco_mask.frPyObjects(shapes, height, width) if isinstance(shapes[0], list) else plain
    mask: UInt8 = coco_mask.decode(coco_mask.merge(parts))
    return mask


def counted(shape: Any) -> bool:
    return isinstance(shape, dict) and isinstance(shape["counts"], list)


@pytest.mark.parametrize("name", REFER)
def test_families_of_refer(name: str, root: Path, tmp_path: Path) -> None:
    held: dict[str, Any] = {}
    nothing = 0
    for loaded in records(root, tmp_path, name):
        for dialogue in loaded.record.dialogues:
            assert dialogue.where
            file, record = dialogue.where
            sentences = {
                f"ref {ref['ref_id']} sentence {one['sent_id']}": one["sent"]
                for ref in held.setdefault(file, raw_file(root, file))
                for one in ref["sentences"]
            }
            assert sentences[record].split() == dialogue.expression.split()
        for target in loaded.record.targets:
            assert target.where
            file, *names = target.where
            if not target.instances:
                nothing += 1
                assert "refs(" in file and all(name.startswith("ref ") for name in names) and not target.area
                continue
            assert names == [f"annotation {one}" for one in target.instances]
            rows = {
                f"annotation {row['id']}": row for row in held.setdefault(file, raw_file(root, file))["annotations"]
            }
            mask = painted([rows[name]["segmentation"] for name in names], loaded.row.height, loaded.row.width)
            assert np.array_equal(rles.decode(target.rle), mask)
    assert bool(nothing) == (name == "grefcoco")


def test_reason_seg_and_llava(root: Path, tmp_path: Path) -> None:
    kinds = set()
    for loaded in records(root, tmp_path / "a", "reason_seg"):
        for target in loaded.record.targets:
            assert target.where
            file, *names = target.where
            shapes = raw_file(root, file)["shapes"]
            labels = [shapes[int(name.removeprefix("shapes[").removesuffix("]"))]["label"] for name in names]
            assert labels == sorted(labels, reverse=True) and "target" in labels  # what is ignored comes last
            kinds |= set(labels)
        for dialogue in loaded.record.dialogues:
            assert dialogue.where
            file, name = dialogue.where
            content = raw_file(root, file)
            number = int(re.sub(r"\D", "", name))
            said = content["text"][number] if name.startswith("text ") else content[number]["query"]
            assert said.split() == dialogue.expression.split()
            kinds.add(name[0])
    assert kinds == {"target", "ignore", "t", "["}
    for loaded in records(root, tmp_path / "b", "llava"):
        (dialogue,) = loaded.record.dialogues
        assert dialogue.where
        file, name = dialogue.where
        row = raw_file(root, file)[int(name.strip("[]"))]
        assert loaded.record.source.image_id == str(row["id"])


def test_ones_own_data(root: Path, tmp_path: Path) -> None:
    """labelme and COCO of our own exports, whose targets unite several shapes and annotations."""
    (one,) = build(root, tmp_path / "a", "reason_seg", splits=("val",))
    for to, options in (("coco", {}), ("labelme", {"polygons": True})):
        export_sets([one.folder], to, tmp_path / to, allow_loss=True, **options)
    found = list(records(tmp_path / "coco", tmp_path / "b", "coco"))
    assert found
    for loaded in found:
        for target in loaded.record.targets:
            assert target.where
            file, *names = target.where
            rows = {
                f"annotation {row['id']}": row for row in raw_file(tmp_path / "coco/reason_seg", file)["annotations"]
            }
            assert [rows[name]["iscrowd"] for name in names] == [0, 1][: len(names)]
            assert rles.area(target.rle) == rows[names[0]]["area"]
    several = 0
    for loaded in records(tmp_path / "labelme/reason_seg", tmp_path / "c", "labelme"):
        for target in loaded.record.targets:
            assert target.where
            file, *names = target.where
            shapes = raw_file(tmp_path / "labelme/reason_seg", file)["shapes"]
            labels = [shapes[int(name[7:-1])]["label"] for name in names]
            assert labels == sorted(labels, key=lambda label: label == "__ignore__")
            several += len(names) > 1
    assert several


def test_phrases_that_name_nothing_lead_to_what_says_so(root: Path, tmp_path: Path) -> None:
    picture = next((root / "reason_seg").rglob("*.jpg"))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/one.jpg").write_bytes(picture.read_bytes())
    content = {"imagePath": "one.jpg", "flags": {"no_target: a zebra": True, "no_target: a tram": True}, "shapes": []}
    (tmp_path / "raw/one.json").write_text(json.dumps(content))
    (loaded,) = records(tmp_path / "raw", tmp_path / "out", "labelme")
    assert [one.where for one in loaded.record.dialogues] == [["one.json", "flags"]] * 2
    assert [one.where for one in loaded.record.targets] == [["one.json", "flags"]]


def test_sets_built_before_are_read_and_found_sound(tmp_path: Path) -> None:
    """The field is optional, by the format's rule: a record without it is one, and comes back as the same bytes."""
    folder = build_set(assorted(tmp_path / "raw", 5), tmp_path / "out")
    with ShardSet(folder) as shards:
        for row in shards.rows:
            plain = json.loads(shards.member(row, "json"))
            for part in plain["targets"] + plain["dialogues"]:
                assert part.pop("where")
            data = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
            assert b"where" not in data
            old = msgspec.json.decode(data, type=Record)
            assert msgspec.json.encode(old) == data
            assert {one.where for one in (*old.targets, *old.dialogues)} == {msgspec.UNSET}
    assert read_manifest(folder).generator["renderer"] == "2" and not verify_set(folder)


def test_fields_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    folder = build_set(assorted(tmp_path / "raw", 2), tmp_path / "out")
    with ShardSet(folder) as shards:
        known = shards.record(shards.rows[0])
    later = json.loads(msgspec.json.encode(known)) | {"weather": "fair"}
    for part in (later["source"], *later["targets"], *later["dialogues"]):
        part["mood"] = [1, 2]
    assert msgspec.json.decode(json.dumps(later), type=Record) == known
