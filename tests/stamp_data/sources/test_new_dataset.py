"""A dataset that nobody has met: one class, one entry of SOURCES, and every command knows it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from stamp_data.build.jobs import find_datasets
from stamp_data.doctor import examine
from stamp_data.export import export_sets
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources import SOURCES
from stamp_data.sources.base import Source
from stamp_data.sources.faults import RecordFault
from stamp_data.verify import verify_set
from stamp_schemas import Annotation, Region, Request, Target

from ..raw import build, read_set


class Parts(Source):
    """`parts/parts.json`: a list of {"image", "polygon", "text", "split"}; images beside it."""

    dataset = "parts"
    licence = "CC0-1.0"
    homepage = "https://example.org/parts"
    numbered = True

    @classmethod
    def find(cls, root: Path) -> list[str]:
        return [""] if (root / "parts/parts.json").is_file() else []

    @property
    def inputs(self) -> list[Path]:
        return [self.root / "parts/parts.json"]

    def load(self) -> None:
        self._rows = json.loads(self.inputs[0].read_bytes())

    def splits(self) -> list[str]:
        return list(dict.fromkeys(row["split"] for row in self._rows))

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        for number, row in enumerate(self._rows):
            where = ("parts/parts.json", f"[{number}]")
            try:
                image = self.image_ref("parts", row["image"])
            except RecordFault as fault:
                rejects.add(*where, fault.reason, fault.detail, expressions=1)
                continue
            if row["split"] == split:
                region = Region(msgspec.Raw(json.dumps([row["polygon"]]).encode()), where)
                target = Target(str(number), [region], [str(number)], ["part"])
                yield Annotation(str(number), where, image, [target], [Request("0", row["text"], [0], where)])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(SOURCES, Parts.dataset, Parts)
    folder = tmp_path / "raw/parts"
    folder.mkdir(parents=True)
    rows = []
    for number, split in enumerate(["train", "train", "val"]):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (30 * number, 90, 120)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
        polygon = [8.0, 8.0, 40.0, 8.0, 40.0, 32.0, 8.0, 32.0]
        rows.append({"image": f"{number}.png", "polygon": polygon, "text": f"the part {number}", "split": split})
    (folder / "parts.json").write_text(json.dumps(rows))
    return tmp_path / "raw"


@pytest.mark.parametrize("name", ["parts", "all"])
def test_it_is_built_checked_and_taken_elsewhere(name: str, root: Path, tmp_path: Path) -> None:
    built = build(root, tmp_path / "out", name)
    assert [one.folder.relative_to(tmp_path / "out").as_posix() for one in built] == ["parts/train", "parts/val"]
    records, rejects = read_set(built[0].folder)
    assert sorted(one.record.source.image_id for one in records) == [0, 1], "its images have numbers"
    assert {one.record.targets[0].area for one in records} == {32 * 24}
    assert not rejects and not verify_set(built[0].folder)
    report = export_sets([built[0].folder], "coco", tmp_path / "coco")
    assert report.written.targets == 2 and not report.losses


def test_the_doctor_looks_at_it(root: Path) -> None:
    assert find_datasets(root) == [("parts", "")]
    [report] = [one for one in examine(root).datasets if one.dataset == "parts"]
    assert report.state == "ready" and not report.findings
    assert [(split.split, split.counts.images, split.opened) for split in report.splits] == [
        ("train", 2, 2),
        ("val", 1, 1),
    ]
