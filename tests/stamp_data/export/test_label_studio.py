"""label_studio: tasks that Label Studio imports, with masks as its brush paints them, and that our own source reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.rle import UInt8
from stamp_data.sources.formats.brush import decoded, painted

from ..making import ListSource, build, pictured
from ..sources.formats.making import Said

shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@settings(deadline=None, max_examples=200)
@given(hnp.arrays(np.uint8, shapes, elements=st.integers(0, 1)))
def test_a_brush_comes_back(mask: UInt8) -> None:
    assert np.array_equal(decoded(painted(rles.encode(mask)), *mask.shape), mask)


@pytest.mark.parametrize("filled", [slice(0), slice(None), slice(40, 260)])
def test_runs_longer_than_one_may_be(filled: slice) -> None:
    mask = np.zeros((300, 400), np.uint8)  # 480,000 values, of which a run holds 65,536
    mask[filled] = 1
    assert np.array_equal(decoded(painted(rles.encode(mask)), 300, 400), mask)


def test_bytes_of_a_brush() -> None:
    """Two pixels, the second painted: 8 values, words of 8 bits, sizes 3, 4, 8, 16; two runs of four, each of size 3."""
    head = f"{8:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    runs = "1" + "00" + "011" + "0" * 8 + "1" + "00" + "011" + "1" * 8
    bits = head + runs + "0" * (-len(head + runs) % 8)
    expected = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert painted(rles.encode(np.array([[0, 1]], np.uint8))) == expected


@pytest.fixture(scope="module", params=[False, True], ids=["brush", "polygons"])
def exported(request: pytest.FixtureRequest, mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    export_sets([mixed], "label_studio", out, polygons=request.param, allow_loss=True)
    return out / "tiny"


def results(task: Any) -> list[Any]:
    (prediction,) = task["predictions"]
    return list(prediction["result"])


def test_tasks_fit_the_labelling_interface(exported: Path) -> None:
    """Every result is of a control and a label that the interface has, and a text of a region belongs to one."""
    view = ET.parse(exported / "label_config.xml").getroot()
    controls = {tag.get("name"): tag for tag in view}
    assert controls["image"].get("value") == "$image"
    tasks = json.loads((exported / "train.json").read_text(encoding="utf-8"))
    seen = set()
    for task in tasks:
        place = task["data"]["image"].removeprefix("/data/local-files/?d=")
        assert (exported / place).is_file()
        regions = {one["id"] for one in results(task) if one["from_name"] == "label"}
        for one in results(task):
            control = controls[one["from_name"]]
            assert one["type"] == control.tag.lower() and one["to_name"] == control.get("toName") == "image"
            seen.add(one["from_name"])
            if one["from_name"] == "label":
                known = {label.get("value") for label in control}
                assert set(one["value"][one["type"]]) <= known
            elif one["from_name"] == "phrase":
                assert one["id"] in regions and control.get("perRegion") == "true"
    assert seen == {"label", "phrase", "no_target"}


def test_labels_are_written_as_xml_has_them(tmp_path: Path) -> None:
    annotation = pictured(tmp_path / "raw", 1)
    annotation.requests = annotation.requests[:1]
    annotation.targets[0].categories = ['"cat" & <dog>\x0b']
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "set")
    export_sets([folder], "label_studio", tmp_path / "out", allow_loss=True)
    view = ET.parse(tmp_path / "out/tiny/label_config.xml").getroot()
    assert [label.get("value") for label in view.iter("Label")] == ['"cat" & <dog>']


def test_only_our_own_predictions_are_read_and_only_until_someone_annotates(simple: Path, tmp_path: Path) -> None:
    export_sets([simple], "label_studio", tmp_path / "out")
    path = tmp_path / "out/tiny/train.json"
    tasks = json.loads(path.read_text(encoding="utf-8"))
    tasks[0]["predictions"][0]["model_version"] = "somebody's model"
    tasks[1]["annotations"] = []  # it was imported, and exported before anyone had looked at it
    tasks[2]["annotations"] = [
        {"result": [{"from_name": "no_target", "type": "textarea", "value": {"text": ["a cow"]}}]}
    ]
    tasks[3]["predictions"][0]["result"] = 7
    tasks[4]["predictions"] = [7, {"model_version": 7, "result": 7}]
    tasks[5]["predictions"] = None
    path.write_text(json.dumps(tasks), encoding="utf-8")
    found = Said(tmp_path / "out", tmp_path / "again", "label_studio")
    assert found.records == {"train": len(tasks) - 5}
    assert [row.reason for row in found.rows] == ["bad-annotation"]
    assert not found.mask("a cow").any()
