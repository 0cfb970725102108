"""What all sources have in common."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stamp_data import sources
from stamp_data.sources import SOURCES, open_source
from stamp_data.sources.faults import REASONS
from stamp_schemas import StampError, UsageFault

from .raw import some_refs, two_images, write_refer


def test_the_families_are_all_there() -> None:
    published = ["refcoco", "refcoco+", "refcocog", "refclef", "grefcoco", "reason_seg", "llava"]
    own = ["coco", "labelme", "annotations", "label_studio", "cvat", "masks", "yolo", "via", "saco"]
    others = ["refcoco_parquet", "reason_seg_parquet", "lvis", "sa1b", "sa2va", "setcon", "phrasecut"]
    semantic = ["ade20k", "coco_stuff", "pascal_part"]
    assert list(SOURCES) == [*published, *own, *others, *semantic]
    assert all(kind.licence for kind in SOURCES.values())


def test_names_of_sets(tmp_path: Path) -> None:
    assert SOURCES["refcoco+"](tmp_path).name == "refcoco+-unc"
    assert SOURCES["refclef"](tmp_path, "berkeley").name == "refclef-berkeley"
    assert SOURCES["llava"](tmp_path).name == "llava"


@pytest.mark.parametrize(
    ("name", "split_by", "hint"),
    [
        ("refcooc", "", "did you mean refcoco"),
        ("RefCOCOg", "", "did you mean refcocog"),
        ("xyz", "", "known: refcoco, "),
        ("refcoco", "umd", "known: unc, google"),
        ("llava", "unc", "leave --split-by out"),
    ],
)
def test_wrong_names_are_usage_faults(tmp_path: Path, name: str, split_by: str, hint: str) -> None:
    with pytest.raises(UsageFault) as caught:
        open_source(name, tmp_path, split_by)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", SOURCES)
def test_an_empty_root_holds_nothing(tmp_path: Path, name: str) -> None:
    assert SOURCES[name].find(tmp_path) == [] and SOURCES[name].find(tmp_path / "nowhere") == []
    with pytest.raises(StampError):
        open_source(name, tmp_path)
    with pytest.raises(StampError, match="does not exist"):
        open_source(name, tmp_path / "nowhere")


def test_inputs_lie_under_the_root(tmp_path: Path) -> None:
    source = open_source("refcoco", write_refer(tmp_path, some_refs(), two_images()))
    assert [path.relative_to(source.root).name for path in source.inputs] == ["refs(unc).p", "instances.json"]


def test_every_reason_is_listed_and_used() -> None:
    folder = Path(next(iter(sources.__path__)))
    code = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.name != "faults.py")
    said = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', code))
    assert said >= set(REASONS)
    raised = set(re.findall(r'RecordFault\(\s*"([^"]+)"', code))
    assert raised <= set(REASONS)


def test_importing_the_sources_is_cheap() -> None:
    code = "import sys, stamp_data.sources; print([m for m in ('numpy', 'PIL', 'pycocotools', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
