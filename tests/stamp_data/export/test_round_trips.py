"""Out and in again: every dialogue comes back with its picture, split, phrase, masks and ignored regions, or is counted.

Formats that `build` reads are built again; the others of masks are read by the description of their layout.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stamp_data import rle as rles
from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.export import ExportReport, export_sets
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.shards.rejects import read_rejects
from stamp_data.synth import synthesize
from stamp_schemas import Annotation, Dialogue, ImageRef, Request, StampError, Target

from ..making import ListSource, box, build, draw
from ..test_pixels import oriented

FAMILIES = ("refcoco", "refcoco+", "refcocog", "refclef", "grefcoco", "reason_seg", "llava")
BUILT_AGAIN = ("coco", "labelme", "label_studio", "masks", "saco")
Said = tuple[str, int, str, tuple[str, ...], tuple[str, ...]]
"""Split, picture, phrase, and per mask its pixels and its ignored ones, "" for none."""


def built(root: Path, out: Path, *names: str) -> Path:
    for _ in run_job(
        Job(names=names, root=root, out=out, min_tokens=4, max_tokens=16), LocalExecutor(1), lambda *_: None
    ):
        pass
    return out


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every family in all its splits; what ReasonSeg and RefCLEF seldom have is put into some of their files."""
    root = tmp_path_factory.mktemp("families")
    synthesize(root / "raw", images=30, size=(96, 64), seed=2)
    for path in sorted((root / "raw/reason_seg").rglob("*.json"))[::2]:
        content = json.loads(path.read_text())
        if "shapes" in content:
            corner = {"label": "ignore", "shape_type": "polygon", "points": [[0, 0], [30, 0], [30, 30], [0, 30]]}
            path.write_text(json.dumps(content | {"shapes": [*content["shapes"], corner]}))
    return built(root / "raw", root / "shards", "all")


def sets_of(shards: Path, family: str) -> list[Path]:
    (folder,) = [path for path in shards.iterdir() if path.name in (family, f"{family}-unc", f"{family}-umd")]
    return [Path(store.place) for store in find_sets(folder)]


def dialogues(folders: list[Path]) -> Iterator[tuple[str, Loaded, Dialogue]]:
    """Those of the first pass, with the split."""
    for folder in folders:
        with ShardSet(folder) as shards:
            for loaded in shards:
                for dialogue in loaded.record.dialogues:
                    if not dialogue.id.endswith("-p1"):
                        yield folder.name, loaded, dialogue


def said(folders: list[Path]) -> Counter[Said]:
    return Counter(_said(*one) for one in dialogues(folders))


def _said(split: str, loaded: Loaded, dialogue: Dialogue) -> Said:
    targets = [loaded.record.targets[number] for number in dialogue.targets]
    masks = tuple(target.rle.counts for target in targets)
    ignored = tuple(target.ignore_rle.counts if target.ignore_rle else "" for target in targets)
    return split, loaded.row.image_xxh3, dialogue.expression, masks, ignored


def without_ignored(found: Counter[Said]) -> Counter[tuple[Any, ...]]:
    return Counter({one[:-1]: times for one, times in found.items()})


def explained(dialogue: Dialogue) -> bool:
    """Whether the answer is in words, by what the question asks for."""
    return any("Please explain" in part.text for part in dialogue.messages[0].content)


def lost(report: ExportReport, what: str) -> int:
    return sum(loss.count for loss in report.losses if loss.what == what)


def check_built_again(first: Counter[Said], again: Counter[Said], report: ExportReport) -> None:
    """Nothing comes back that was not there, and all that does not is counted."""
    assert again.total() == first.total() - lost(report, "dialogues")
    if lost(report, "ignored"):
        assert not without_ignored(again) - without_ignored(first)
    else:
        assert not again - first


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", BUILT_AGAIN)
def test_families_are_built_again(form: str, family: str, shards: Path, tmp_path: Path) -> None:
    folders = sets_of(shards, family)
    report = export_sets(folders, form, tmp_path / "out", allow_loss=True)
    first = said(folders)
    if family == "llava":  # conversations ask for no mask, and those are what can be built of either
        with pytest.raises(StampError, match=r"no usable record|holds no file of"):
            built(tmp_path / "out", tmp_path / "again", form)
        skipped = sum(row.expressions for path in tmp_path.rglob("rejects.jsonl") for row in read_rejects(path))
        assert first.total() == lost(report, "dialogues") + skipped
        return
    again = said([Path(one.place) for one in find_sets(built(tmp_path / "out", tmp_path / "again", form))])
    assert {one[0] for one in again} == {one[0] for one in first} == {folder.name for folder in folders}
    check_built_again(first, again, report)
    if form == "coco":
        assert again == first and not report.losses
    if family == "reason_seg":
        assert any(any(one[-1]) for one in again) is (form != "saco")
        answers = sum(explained(one) for *_, one in dialogues(folders))
        assert answers and lost(report, "answers") == (0 if form == "coco" else answers)
    if family == "grefcoco":  # what names nothing comes back of either
        assert again == first and {loss.code for loss in report.losses} <= {"repeated"}
        assert any(not loaded.record.targets[one.targets[0]].area for _, loaded, one in dialogues(folders))


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_read_out_of_json_and_png(family: str, shards: Path, tmp_path: Path) -> None:
    folders = sets_of(shards, family)
    report = export_sets(folders, "json-png", tmp_path / "out", allow_loss=True)
    check_json_png(folders, tmp_path / "out", report)
    assert bool(lost(report, "ignored")) == (family == "reason_seg")


def check_json_png(folders: list[Path], out: Path, report: ExportReport) -> None:
    """By the description of the layout."""
    assert {loss.code for loss in report.losses} <= {"ignored-regions"}
    ignored = 0
    for folder in folders:
        items = {one["id"]: one for one in json.loads(next(out.glob(f"*/{folder.name}.json")).read_text())}
        with ShardSet(folder) as records:
            for loaded in records:
                ignored += sum(target.ignore_rle is not None for target in loaded.record.targets)
                for dialogue in loaded.record.dialogues:
                    item = items.pop(f"{loaded.record.key}/{dialogue.id}")
                    assert (item["expression"], item["messages"]) == (
                        dialogue.expression, msgspec.to_builtins(dialogue.messages),
                    )  # fmt: skip
                    pictures = [(out / path).read_bytes() for path in item["images"]]
                    assert pictures == ([loaded.image] if loaded.image else [])
                    masks = [np.asarray(Image.open(out / path)) // 255 for path in item["masks"]]
                    expected = [rles.decode(loaded.record.targets[number].rle) for number in dialogue.targets]
                    assert all(map(np.array_equal, masks, expected)) and len(masks) == len(expected)
        assert not items
    assert lost(report, "ignored") == ignored


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_read_out_of_parquet(family: str, shards: Path, tmp_path: Path) -> None:
    folders = sets_of(shards, family)
    check_parquet(folders, tmp_path / "out", export_sets(folders, "hf", tmp_path / "out"))


def check_parquet(folders: list[Path], out: Path, report: ExportReport) -> None:
    """By its columns."""
    assert not report.losses
    for folder in folders:
        paths = sorted(out.glob(f"*/{folder.name}-*.parquet"))
        rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
        with ShardSet(folder) as records:
            for row, loaded in zip(rows, records, strict=True):
                assert row["record"].encode() == records.member(loaded.row, "json")
                assert (row["image"]["bytes"] if row["image"] else None) == loaded.image
                assert np.array_equal(
                    np.array(row["labels"] or [], np.uint8), [] if loaded.labels is None else loaded.labels
                )


def check_tars(folders: list[Path], out: Path, report: ExportReport) -> None:
    """By tar alone, at the places that the side files give."""
    assert not report.losses
    for folder in folders:
        with ShardSet(folder) as records:
            expected = {loaded.row.key: records.member(loaded.row, "json") for loaded in records}
        found = {}
        for path in out.glob(f"*/{folder.name}/*.tar"):
            begins = np.fromfile(path.with_suffix(".tar.idx"), "<u8")
            for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
                with tarfile.open(fileobj=io.BytesIO(path.read_bytes()[begin:end])) as tar:
                    members = {member.name.split(".", 1)[1]: tar.extractfile(member) for member in tar}
                record = members["json"]
                assert record is not None
                data = record.read()
                found[json.loads(data)["key"]] = data
        assert found == expected


@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("form", BUILT_AGAIN)
def test_masks_of_turned_pictures_are_of_the_same_pixels(form: str, polygons: bool, tmp_path: Path) -> None:
    """By EXIF: labelme and Label Studio mean the upright picture, the others the one that is stored."""
    made = []
    for number, orientation in enumerate((3, 5, 6, 8)):
        name = draw(tmp_path / "raw", f"{number}.png", WIDTH, HEIGHT, number)
        pixels = np.asarray(Image.open(tmp_path / "raw" / name))
        (tmp_path / "raw" / name).write_bytes(oriented(pixels, "JPEG", orientation))
        targets = [Target("a", [box(2, 3, 30, 12)]), Target("none")]
        asked = [Request("0", "the dog", [0], ("tiny.json", "0")), Request("1", "a cow", [1], ("tiny.json", "1"))]
        made.append(Annotation(str(number), ("tiny.json", "1"), ImageRef(name, WIDTH, HEIGHT), targets, asked))
    folder = build(ListSource(tmp_path / "raw", made), tmp_path / "set")
    report = export_sets([folder], form, tmp_path / "out", polygons=polygons)
    again = [Path(one.place) for one in find_sets(built(tmp_path / "out", tmp_path / "again", form))]
    assert said(again) == said([folder]) and not report.losses


# --- whatever a source may say of one picture --------------------------------------------------------------------------

WIDTH, HEIGHT = 48, 40
phrases = st.sampled_from(
    ["the dog", "a cat", "both", "größe → 猫", "what is this?", "no_target: x", "-1", "\U0001f600", "__ignore__"]
)
boxes = st.builds(box, st.integers(0, 20), st.integers(0, 15), st.integers(22, 47), st.integers(17, 39))
hidden = st.builds(
    box, st.integers(0, 9), st.integers(0, 9), st.integers(10, 40), st.integers(10, 30), st.just("ignore")
)
names = st.lists(st.sampled_from(["dog", "cat", "__ignore__", " dog "]), max_size=2)


@st.composite
def pages(draw_from: st.DrawFn) -> Annotation:
    """A picture with targets of which some are empty, and requests for one or several of them in whatever words."""
    shared = draw_from(st.lists(hidden, max_size=1))
    targets = []
    for number in range(draw_from(st.integers(1, 3))):
        own = draw_from(st.lists(hidden, max_size=1)) if draw_from(st.booleans()) else shared
        regions = draw_from(st.lists(boxes, max_size=2)) + own
        targets.append(Target(f"t{number}", regions, [str(number)], draw_from(names)))
    asked = st.lists(st.integers(0, len(targets) - 1), min_size=1, max_size=2)
    requests = [
        Request(str(number), draw_from(phrases), draw_from(asked), ("tiny.json", f"sentence {number}"))
        for number in range(draw_from(st.integers(1, 4)))
    ]
    return Annotation("", ("tiny.json", "1"), None, targets, requests)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    for number in range(3):
        draw(root, f"{number}.png", WIDTH, HEIGHT, number)
    return root


@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("form", BUILT_AGAIN)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None, derandomize=True)
@given(made=st.lists(pages(), min_size=1, max_size=3))
def test_any_page_is_built_again(
    form: str, polygons: bool, pictures: Path, tmp_path_factory: pytest.TempPathFactory, made: list[Annotation]
) -> None:
    for number, page in enumerate(made):
        page.id, page.image = str(number), ImageRef(f"images/{number}.png", WIDTH, HEIGHT)
    tmp_path = tmp_path_factory.mktemp("page")
    folder = build(ListSource(pictures, made), tmp_path / "set", passes=2 if form == "coco" else 1)
    report = export_sets([folder], form, tmp_path / "out", allow_loss=True, polygons=polygons)
    first = said([folder])
    try:
        again = said([Path(one.place) for one in find_sets(built(tmp_path / "out", tmp_path / "again", form))])
    except StampError:  # nothing is left of it, which `first` and `report` have to say as well
        again = Counter()
    check_built_again(first, again, report)
    if form == "coco":
        assert without_ignored(again) == without_ignored(first)
        assert {loss.code for loss in report.losses} <= {"ignored-per-empty-mask"}


@pytest.mark.parametrize(
    ("form", "check"), [("json-png", check_json_png), ("hf", check_parquet), ("energon", check_tars)]
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None, derandomize=True)
@given(made=st.lists(pages(), min_size=1, max_size=3))
def test_any_page_is_read_by_the_layout(
    form: str,
    check: Callable[[list[Path], Path, ExportReport], None],
    pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
    made: list[Annotation],
) -> None:
    for number, page in enumerate(made):
        page.id, page.image = str(number), ImageRef(f"images/{number}.png", WIDTH, HEIGHT)
    tmp_path = tmp_path_factory.mktemp("page")
    folder = build(ListSource(pictures, made), tmp_path / "set", passes=2)
    check([folder], tmp_path / "out", export_sets([folder], form, tmp_path / "out", allow_loss=True))
