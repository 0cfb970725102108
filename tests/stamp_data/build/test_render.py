"""Whatever a source may yield becomes a valid record that is read back the same, or rows that account for it."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.shards.rejects import read_rejects
from stamp_schemas import Annotation, ImageRef, Record, Region, Request, Target, Turn

from ..making import ListSource, build
from ..raw import picture

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools

WIDTH, HEIGHT = 48, 36
PICTURES = {"a.jpg": picture((WIDTH, HEIGHT)), "b.png": picture((WIDTH, HEIGHT), form="PNG", mode="RGBA")}

NUMBERS = st.floats(-60, 110) | st.integers(-60, 110) | st.sampled_from([float(WIDTH), 0.0, -0.0, 1e300, 0.5])
POLYGON = st.lists(NUMBERS, max_size=14) | st.lists(st.floats(0, 36), min_size=6, max_size=16)


def _rle(mask: list[int], compressed: bool) -> dict[str, Any]:
    pixels = np.resize(np.array(mask or [0], np.uint8), (HEIGHT, WIDTH))
    runs, last = [0], 0
    for value in pixels.ravel(order="F"):
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    if not compressed:
        return {"size": [HEIGHT, WIDTH], "counts": runs}
    counts = coco_mask.encode(np.asfortranarray(pixels))["counts"]
    return {"size": [HEIGHT, WIDTH], "counts": counts.decode()}


RLE = st.builds(_rle, st.lists(st.integers(0, 1), max_size=60), st.booleans())
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
SEGMENTATION = st.lists(POLYGON, max_size=3) | RLE | JUNK
WHERE = st.sampled_from([("tiny.json", "annotation 7"), ("tiny.json", "shapes[0]: odd")])
NAME = st.text(st.characters(codec="utf-8"), max_size=12)
TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["<|seg|>", "a <|im_end|>b", "[class_name]", "x" * 2001, "{sent} {answer}", "the cat"]
)
REGION = st.builds(
    Region,
    SEGMENTATION.map(lambda shape: msgspec.Raw(msgspec.json.encode(shape))),
    WHERE,
    st.sampled_from(["target", "target", "ignore"]),
)
TARGET = st.builds(Target, NAME, st.lists(REGION, max_size=3), st.lists(NAME, max_size=2), st.lists(NAME, max_size=2))


@st.composite
def asked(draw: st.DrawFn) -> Annotation:
    """Requests about a picture, each for some of its targets."""
    targets = draw(st.lists(TARGET, min_size=1, max_size=4))
    places = st.lists(st.integers(0, len(targets) - 1), min_size=1, max_size=3)
    requests = [
        Request(str(number), draw(TEXT), draw(places), draw(WHERE), form, draw(TEXT) if form == "explanation" else "")
        for number in range(draw(st.integers(1, 4)))
        for form in [draw(st.sampled_from(["phrase", "question", "description", "explanation"]))]
    ]
    width = draw(st.sampled_from([WIDTH, None, WIDTH + 1]))
    image = ImageRef(draw(st.sampled_from([*PICTURES, "missing.jpg", "../a.jpg"])), width, HEIGHT)
    return Annotation(draw(NAME), draw(WHERE), image, targets, requests)


@st.composite
def talked(draw: st.DrawFn) -> Annotation:
    """A conversation, about a picture or not."""
    name = draw(st.sampled_from([None, *PICTURES]))
    turns = [Turn("system", draw(TEXT))] if draw(st.booleans()) else []
    for number in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(["before", "after"])) if name and not number else ""
        turns += [Turn("user", draw(TEXT), place), Turn("assistant", draw(TEXT))]
    return Annotation(draw(NAME), draw(WHERE), ImageRef(name) if name else None, conversation=turns)


PLAIN = Annotation("plain", ("tiny.json", "plain"), conversation=[Turn("user", "a"), Turn("assistant", "b")])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(asked() | talked(), min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 4))
def test_anything_a_source_yields_is_read_back_or_accounted_for(
    annotations: list[Annotation], passes: int, rounds: int
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        source = ListSource(root, [*annotations, PLAIN])
        for name, data in PICTURES.items():
            (root / name).write_bytes(data)
        folder = build(source, Path(place) / "out", passes=passes, rounds=rounds)
        with ShardSet(folder) as shards:
            records = list(shards)
            check_tars(folder, records)
        for loaded in records:
            check_record(loaded)
        asked_for = [one for one in annotations if one.requests]
        spoken = len(annotations) - len(asked_for) + 1
        kept = sum(_requests(one.record) // (passes if one.row.targets else 1) for one in records)
        lost = sum(row.expressions for row in read_rejects(folder / "rejects.jsonl")) - 1  # ListSource's own
        assert kept + lost == sum(len(one.requests) for one in asked_for) + spoken


def _requests(record: Record) -> int:
    """Of how many requests and conversations its dialogues are made."""
    return sum(1 if one.rounds is msgspec.UNSET else len(one.rounds) for one in record.dialogues)


def check_record(loaded: Loaded) -> None:
    record, row = loaded.record, loaded.row
    assert (record.image is None) == (loaded.image is None) == (record.grid is None)
    if record.image is not None and record.grid is not None:
        assert loaded.image in PICTURES.values()
        assert (record.image.width, record.image.height) == (WIDTH, HEIGHT)
        assert row.image_tokens == record.grid.height * record.grid.width
    labels = (0, 0, 0) if loaded.labels is None or record.grid is None else loaded.labels.shape
    assert labels == ((len(record.targets), row.grid_height, row.grid_width) if record.targets else (0, 0, 0))
    for target in record.targets:
        rle = {"size": list(target.rle.size), "counts": target.rle.counts.encode()}
        pixels = coco_mask.decode(rle)
        assert pixels.shape == (HEIGHT, WIDTH)
        assert set(np.unique(pixels)) <= {0, 1}
        assert target.area == int(pixels.sum())
        assert list(target.bbox) == coco_mask.toBbox(rle).tolist()
        if target.ignore_rle is not None:
            ignored = coco_mask.decode({"size": list(target.ignore_rle.size), "counts": target.ignore_rle.counts})
            assert ignored.any()
            assert not (ignored & pixels).any()
    assert {place for one in record.dialogues for place in one.targets} == set(range(len(record.targets)))
    assert len({one.id for one in record.dialogues}) == len(record.dialogues)
    for number, one in enumerate(record.dialogues):
        said = ["".join(c.text for c in message.content) for message in one.messages if message.role == "assistant"]
        heard = ["".join(c.text for c in message.content) for message in one.messages if message.role != "assistant"]
        assert sum(text.count("<|seg|>") for text in said) == len(one.targets) == row.masks[number]
        assert not any("<|" in text and "|>" in text.split("<|", 1)[1] for text in heard)
        pictures = sum(content.type == "image" for message in one.messages for content in message.content)
        assert pictures == (record.image is not None)
        assert row.text_chars[number] == sum(map(len, said + heard))


def check_tars(folder: Path, records: list[Loaded]) -> None:
    """What the index says is what plain `tarfile` finds, in the order of the format."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found.append((path.name, member.name, member.offset_data, file.read()))
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
    expected = [
        (one.row.shard, one.row.member_name(kind), one.row.span(kind)[0]) for one in records for kind in one.row.members
    ]
    assert [entry[:3] for entry in found] == expected
    json = [msgspec.json.decode(data, type=Record) for _, name, _, data in found if name.endswith(".json")]
    assert json == [one.record for one in records]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for name, data in PICTURES.items():
        (tmp_path / "data" / name).write_bytes(data)
    return tmp_path / "data"


def box(x0: float, y0: float, x1: float, y1: float, role: Any = "target") -> Region:
    return Region(msgspec.Raw(msgspec.json.encode([[x0, y0, x1, y0, x1, y1, x0, y1]])), ("tiny.json", "box"), role)


def one(root: Path, targets: list[Target], places: list[int], **options: Any) -> Loaded:
    request = Request("0", "it", places, ("tiny.json", "it"))
    source = ListSource(root, [Annotation("1", ("tiny.json", "1"), ImageRef("a.jpg"), targets, [request])])
    with ShardSet(build(source, root.parent / "out", **options)) as shards:
        return shards.load(shards.rows[0])


def test_union_of_overlapping_regions_counts_each_pixel_once(root: Path) -> None:
    loaded = one(root, [Target("t", [box(0, 0, 20, 20), box(10, 10, 30, 30)])], [0])
    assert loaded.record.targets[0].area == 400 + 400 - 100


def test_smaller_regions_lie_over_larger_ones_where_some_are_ignored(root: Path) -> None:
    regions = [box(0, 0, 10, 10, "ignore"), box(0, 0, 30, 30), box(2, 2, 4, 4)]
    (target,) = one(root, [Target("t", regions)], [0]).record.targets
    assert target.area == 900 - 100 + 4
    assert target.ignore_rle is not None
    ignored = coco_mask.area({"size": list(target.ignore_rle.size), "counts": target.ignore_rle.counts})
    assert int(ignored) == 100 - 4


def test_dialogue_without_target_points_at_an_empty_mask(root: Path) -> None:
    loaded = one(root, [Target("none")], [0])
    assert loaded.record.targets[0].area == 0
    assert loaded.labels is not None
    assert not loaded.labels.any()
    assert loaded.row.foreground == 0


def test_targets_that_nobody_asks_for_are_left_out_and_the_others_renumbered(root: Path) -> None:
    targets = [
        Target("unused", [box(0, 0, 5, 5)]),
        Target("second", [box(0, 0, 9, 9)]),
        Target("first", [box(5, 5, 9, 9)]),
    ]
    record = one(root, targets, [2, 1]).record
    assert [target.id for target in record.targets] == ["second", "first"]
    assert record.dialogues[0].targets == [1, 0]


def test_same_target_may_be_asked_for_twice_in_one_answer(root: Path) -> None:
    record = one(root, [Target("t", [box(0, 0, 9, 9)])], [0, 0]).record
    assert record.dialogues[0].targets == [0, 0]
    assert record.dialogues[0].messages[1].content[0].text.count("<|seg|>") == 2


@pytest.mark.parametrize("identity", ["0", "7", "581857", "000000033471", "007", "1" * 30, "a/b", "²"])
def test_image_id_comes_back_as_it_was(identity: str, root: Path) -> None:
    request = Request("0", "it", [0], ("tiny.json", "it"))
    source = ListSource(root, [Annotation(identity, ("tiny.json", "1"), ImageRef("a.jpg"), [Target("t")], [request])])
    with ShardSet(build(source, root.parent / "out")) as shards:
        assert str(shards.record(shards.rows[0]).source.image_id) == identity


def test_foreground_is_the_covered_share(root: Path) -> None:
    loaded = one(root, [Target("t", [box(0, 0, WIDTH / 2, HEIGHT)])], [0], min_tokens=64, max_tokens=64)
    assert loaded.row.foreground == pytest.approx(0.5, abs=0.01)
