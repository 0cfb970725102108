"""Requests joined to dialogues: each is there once, no mask changes, and references are true of one thing only."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from stamp_data import rle as rles
from stamp_data.build.plan import Planned
from stamp_data.build.render import Renderer
from stamp_data.instructions.rounds import round_wording
from stamp_data.shards.rejects import RejectLog
from stamp_schemas import (
    Annotation,
    Dialogue,
    ImageRef,
    Record,
    Region,
    Request,
    Settings,
    StampError,
    Target,
    UsageFault,
)
from stamp_schemas.record import Round

from ..raw import Command, Raw, build, build_one, one_line, picture, read_set, reasons, tree

WIDTH, HEIGHT = 60, 40
PICTURE = picture((WIDTH, HEIGHT))
SAME = {"man": "person"}  # of the names below, those that may be said of one and the same thing
KNOWN_NAMES = ["dog", "dog", "cat", "person", "man", "Dog"]


@dataclass(frozen=True)
class Drawn:
    """A thing of a made-up scene. boxes: rectangles that it is made of. role: `one` is asked for, `other` is only known."""

    name: str
    boxes: tuple[tuple[int, int, int, int], ...]
    role: str

    @property
    def mask(self) -> NDArray[np.bool_]:
        found = np.zeros((HEIGHT, WIDTH), bool)
        for x, y, width, height in self.boxes:
            found[y : y + height, x : x + width] = True
        return found

    @property
    def region(self) -> Region:
        shapes = [[x, y, x + w, y, x + w, y + h, x, y + h] for x, y, w, h in self.boxes]
        return Region(msgspec.Raw(msgspec.json.encode(shapes)), ("tiny.json", "thing"))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x, y = draw(st.integers(0, WIDTH - 3)), draw(st.integers(0, HEIGHT - 3))
    return x, y, draw(st.integers(2, min(9, WIDTH - x))), draw(st.integers(2, min(9, HEIGHT - y)))


THINGS = st.builds(
    Drawn,
    st.sampled_from([*KNOWN_NAMES * 4, "object", ""]),
    st.lists(boxes(), min_size=1, max_size=2).map(tuple) | st.tuples(boxes()),
    st.sampled_from(["one", "one", "one", "other"]),
)


def _target(numbers: list[int], things: list[Drawn]) -> Target:
    some = [things[number] for number in numbers]
    regions, names = [one.region for one in some], [one.name for one in some if one.name]
    return Target("-".join(map(str, numbers)) or "none", regions, [str(number) for number in numbers], names)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Annotation, list[Drawn]]:
    """A picture with things, several requests for single ones, for two at once and for nothing."""
    things = draw(st.lists(THINGS, min_size=2, max_size=4))
    asked = [[number] for number, one in enumerate(things) if one.role == "one"]
    if len(asked) > 1:
        asked += draw(st.sampled_from([[], [], [asked[0] + asked[1]]]))
    asked += draw(st.sampled_from([[], [], [[]]]))
    if not asked:
        asked = [[]]
    targets = [_target(numbers, things) for numbers in asked]
    requests = []
    for number in range(draw(st.integers(4, 9))):
        place = draw(st.integers(0, len(targets) - 1))
        form = draw(st.sampled_from(["phrase", "phrase", "phrase", "description", "question"]))
        requests.append(Request(f"r{number}", f"words {number}", [place], ("tiny.json", f"r{number}"), form))
    others = [_target([number], things) for number, one in enumerate(things) if one.role == "other"]
    return Annotation("1", ("tiny.json", "1"), ImageRef("a.jpg"), targets, requests, others=others), things


def render(annotation: Annotation, rounds: int, passes: int = 1, seed: int = 0, data: bytes = PICTURE) -> Record:
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "a.jpg").write_bytes(data)
        made = Settings("tiny", "", "train", seed, passes, 4, 16, rounds=msgspec.UNSET if rounds == 1 else rounds)
        rendered = Renderer([Path(place)], made).render(Planned("k", len(data), annotation), RejectLog())
        assert rendered is not None
        return rendered.record


def rounds_of(dialogue: Dialogue) -> list[Round]:
    return [] if dialogue.rounds is msgspec.UNSET else dialogue.rounds


def requests_of(record: Record) -> list[tuple[str, str, list[int], str]]:
    """(request and pass, expression, targets, answer) of all that a record's dialogues ask for."""
    found = []
    for dialogue in record.dialogues:
        suffix = dialogue.id.rpartition("-")[2]
        rounds = rounds_of(dialogue) or [Round(dialogue.id.rpartition("-")[0], dialogue.expression)]
        left = list(dialogue.targets)
        for one, answer in zip(rounds, dialogue.messages[1::2], strict=True):
            masks = answer.masks
            found.append((f"{one.id}-{suffix}", one.expression, left[:masks], "".join(c.text for c in answer.content)))
            left = left[masks:]
        assert not left
    return sorted(found)


def may_be(name: str, other: str) -> bool:
    """Whether a thing of the second name might be called by the first."""
    vague = ("", "object")
    one, two = (SAME.get(text.lower(), text.lower()) for text in (name, other))
    return other in vague or one == two


def holds(relation: str, mask: NDArray[np.bool_], anchor: NDArray[np.bool_]) -> bool:
    """By pixels alone: every pixel of a mask lies on that side of every one of the anchor."""
    axis = 1 if relation in ("left", "right") else 0
    own, its = np.nonzero(mask)[axis], np.nonzero(anchor)[axis]
    return own.max() < its.min() if relation in ("left", "above") else own.min() > its.max()


def might_hold(relation: str, mask: NDArray[np.bool_], anchor: NDArray[np.bool_]) -> bool:
    """By pixels alone: a mask reaches further to that side than the anchor does, or its pixels' middle lies there."""
    axis = 1 if relation in ("left", "right") else 0
    sign = 1 if relation in ("left", "above") else -1
    own, its = sign * np.nonzero(mask)[axis], sign * np.nonzero(anchor)[axis]
    middle, its_middle = (own.max() + own.min()) / 2, (its.max() + its.min()) / 2
    return bool(own.min() < its.min() or middle <= its_middle)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenes(), st.integers(2, 4), st.integers(0, 3))
def test_each_request_is_there_once_no_mask_changes_and_references_are_true_of_one_thing(
    scene: tuple[Annotation, list[Drawn]], rounds: int, seed: int
) -> None:
    annotation, things = scene
    alone, joined = render(annotation, 1, 2, seed), render(annotation, rounds, 2, seed)
    assert joined.targets == alone.targets
    parts = requests_of(joined)
    assert [part[:3] for part in parts] == [part[:3] for part in requests_of(alone)]
    assert Counter(part[0] for part in parts) == {f"{one.id}-p{n}": 1 for one in annotation.requests for n in (0, 1)}
    assert len(joined.dialogues) == 2 * -(-len(annotation.requests) // rounds)
    single = {one.id: one for one in alone.dialogues}
    for dialogue in joined.dialogues:
        said = rounds_of(dialogue)
        assert len(said) <= rounds
        assert len(said) != 1
        for number, one in enumerate(said):
            question, answer = dialogue.messages[2 * number : 2 * number + 2]
            assert [part.type for part in question.content] == ["image"] * (not number) + ["text"]
            if not one.reference:
                before = single[f"{one.id}-{dialogue.id.rpartition('-')[2]}"]
                assert question.content[-1] == before.messages[0].content[-1]
                assert answer == before.messages[1]
                continue
            event(one.relation)
            check_reference(dialogue, number, things, {request.id: request for request in annotation.requests}, joined)


def check_reference(
    dialogue: Dialogue, number: int, things: list[Drawn], requests: dict[str, Request], record: Record
) -> None:
    said = rounds_of(dialogue)
    one, earlier = said[number], said[said[number].anchor]
    assert requests[one.id].form != "question"
    assert one.reference in dialogue.messages[2 * number].content[-1].text
    thing, anchor = (_only_thing(request, dialogue, said, record, things) for request in (one, earlier))
    name, its = things[thing], things[anchor]
    rivals = [
        other for place, other in enumerate(things) if place not in (thing, anchor) and may_be(name.name, other.name)
    ]
    last = one.anchor == number - 1
    where = "it" if last else f"the one in your {round_wording().ordinals[one.anchor]} answer"
    if one.relation == "other":
        assert not rivals
        assert last
        assert name.name.lower() == its.name.lower()
        overlap = (name.mask & its.mask).sum() / min(name.mask.sum(), its.mask.sum())
        assert overlap < 1
        assert one.reference == f"other {name.name}" or name.name.lower() in earlier.said.lower()
        return
    assert one.reference.startswith(name.name)
    assert one.reference.endswith(f" {where}")
    assert one.relation in one.reference
    assert holds(one.relation, name.mask, its.mask)
    assert not any(might_hold(one.relation, other.mask, its.mask) for other in rivals)


def _only_thing(one: Round, dialogue: Dialogue, said: list[Round], record: Record, things: list[Drawn]) -> int:
    """Which thing a round asks for: its mask is that of one, whose id its target has."""
    target = record.targets[dialogue.targets[said.index(one)]]
    (name,) = target.instances
    assert np.array_equal(rles.decode(target.rle).astype(bool), things[int(name)].mask)
    return int(name)


# --- By example -------------------------------------------------------------------------------------------------------


def scene(*things: tuple[str, tuple[int, int, int, int]], others: int = 0, **more: Any) -> Annotation:
    """A request `thing K` for each thing but the last `others`, which are only known to be there."""
    drawn = [Drawn(name, (box,), "one") for name, box in things]
    asked = range(len(drawn) - others)
    targets = [_target([number], drawn) for number in asked]
    requests = [Request(str(number), f"thing {number}", [number], ("tiny.json", f"r{number}")) for number in asked]
    rest = [_target([number], drawn) for number in range(len(drawn) - others, len(drawn))]
    return Annotation("1", ("tiny.json", "1"), ImageRef("a.jpg", **more), targets, requests, others=rest)


def references(annotation: Annotation, data: bytes = PICTURE) -> set[str]:
    """All that forty seeds say instead of an expression."""
    records = [render(annotation, 4, seed=seed, data=data) for seed in range(40)]
    return {one.reference for record in records for talk in record.dialogues for one in rounds_of(talk)} - {""}


LEFT, MIDDLE, RIGHT = (2, 10, 8, 12), (26, 12, 8, 12), (48, 10, 8, 12)


def test_two_of_a_name_and_where_they_are() -> None:
    found = references(scene(("dog", LEFT), ("dog", RIGHT)))
    sides = {f"dog {side} of it" for side in ("left", "to the left", "right", "to the right")}
    assert found == {"other dog", *sides}


def test_a_third_that_nothing_asks_for_is_no_less_another_one() -> None:
    found = references(scene(("dog", LEFT), ("cat", MIDDLE), ("dog", RIGHT), others=1))
    assert "other dog" not in found
    assert "dog left of it" in found  # of the cat; the dog that is not asked for is right of it
    assert "dog right of it" not in found


@pytest.mark.parametrize("name", ["", "object", "man", "people"])
def test_what_may_be_called_the_same_is_no_less_another_one(name: str) -> None:
    assert references(scene(("person", LEFT), ("person", RIGHT), (name, (20, 2, 6, 6)), others=1)) == set()


def test_a_thing_whose_mask_is_unknown_could_be_anywhere() -> None:
    annotation = scene(("dog", LEFT), ("dog", RIGHT))
    annotation.others = [Target("crowd", [], ["crowd"], ["dog"])]
    assert references(annotation) == set()
    annotation.others = [Target("crowd", [], ["crowd"], ["cat"])]
    assert "other dog" in references(annotation)


def test_what_lies_between_clearly_and_not_is_not_said() -> None:
    assert references(scene(("dog", (20, 10, 8, 12)), ("cat", (27, 10, 8, 12)))) == set()  # boxes overlap
    assert references(scene(("dog", (2, 2, 8, 8)), ("cat", (14, 25, 8, 12)))) == {
        "dog above it",
        "cat below it",
    }  # more above than left


def test_two_outlines_of_one_thing_are_not_two() -> None:
    assert references(scene(("dog", (20, 10, 10, 10)), ("dog", (21, 10, 10, 10)))) == set()


def test_earlier_rounds_are_called_by_their_answer() -> None:
    found = references(scene(("dog", LEFT), ("cat", MIDDLE), ("bird", RIGHT)))
    assert "cat left of the one in your first answer" in found
    assert "bird right of it" in found
    assert not any("second" in one or "third" in one for one in found)  # these are `it`, or later


def test_a_picture_that_viewers_turn_has_no_sides() -> None:
    buffer = picture((WIDTH, HEIGHT))
    image = Image.new("RGB", (1, 1))
    exif = image.getexif()
    exif[0x0112] = 6
    turned = picture((WIDTH, HEIGHT), exif=exif.tobytes())
    both = scene(("dog", LEFT), ("dog", RIGHT), width=WIDTH, height=HEIGHT)
    assert "dog left of it" in references(both, buffer)
    assert references(both, turned) == {"other dog"}


def test_odd_names_are_not_said() -> None:
    for name in ("<|seg|>", "a {sent}", "dog #3", "bow (weapon)", "x" * 3000):
        assert references(scene((name, LEFT), (name, RIGHT))) == set()
    assert "other traffic light" in references(scene(("traffic_light", LEFT), ("traffic_light", RIGHT)))


# --- Builds -----------------------------------------------------------------------------------------------------------


def raw_set(root: Path, images: int = 6) -> Raw:
    raw = Raw(root)
    for number in range(1, images + 1):
        raw.image(number)
        raw.ref(number, "the left one", "left thing", segmentation=[[2, 8, 14, 8, 14, 30, 2, 30]])
        raw.ref(number, "the right one", segmentation=[[44, 8, 60, 8, 60, 30, 44, 30]])
    return raw


def test_annotations_that_nothing_refers_to_are_known(tmp_path: Path) -> None:
    said = []
    for crowd in (None, 0, 1):
        raw = raw_set(tmp_path / f"data{crowd}")
        save = raw.save

        def named(save: Any = save, raw: Raw = raw, crowd: int | None = crowd) -> None:
            if crowd is not None:
                middle = [[24, 8, 34, 8, 34, 30, 24, 30]]
                more = [{"id": 9000 + n, "image_id": n, "category_id": 1, "segmentation": middle} for n in range(1, 7)]
                raw.annotations += [one | {"iscrowd": crowd} for one in more]
            save()
            path = raw.folder / "instances.json"
            path.write_text(path.read_text().replace('"thing"', '"cup"'))

        raw.save = named  # type: ignore[method-assign]
        raw.save()
        (built,) = build(raw.root, tmp_path / f"out{crowd}", rounds=3)
        records, _ = read_set(built.folder)
        said.append({one.relation for loaded in records for talk in loaded.record.dialogues for one in rounds_of(talk)})
    assert "other" in said[0]
    assert "other" not in said[1]
    assert said[2] == {""}  # a crowd of cups may be anywhere


SHARES = {"left": (0.05, 0.2, 0.25, 0.8), "right": (0.7, 0.2, 0.9, 0.8)}
BROKEN = [[1.0, 2.0], [3.0, 4.0]]  # a line


def as_labelme(data: Path, number: int, corners: dict[str, list[list[float]]]) -> None:
    shapes = [
        {"label": "dog", "description": f"the {name} one", "points": points, "shape_type": "polygon"}
        for name, points in corners.items()
    ]
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{number}.jpg", "imageData": None,
               "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip
    (data / f"{number}.json").write_text(msgspec.json.encode(content).decode())


def as_label_studio(data: Path, number: int, corners: dict[str, list[list[float]]]) -> None:
    results: list[dict[str, Any]] = []
    for name, points in corners.items():
        percents = [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in points]
        one = {"id": name, "from_name": "x", "to_name": "i", "original_width": WIDTH, "original_height": HEIGHT}
        results.append(one | {"type": "polygonlabels", "value": {"points": percents, "polygonlabels": ["dog"]}})
        results.append(one | {"type": "textarea", "value": {"text": [f"the {name} one"]}})
    task = {"id": number, "data": {"image": f"{number}.jpg"}, "annotations": [{"result": results}]}
    (data / f"{number}.json").write_text(msgspec.json.encode([task]).decode())


def as_coco(data: Path, number: int, corners: dict[str, list[list[float]]]) -> None:
    path = data / "instances.json"
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}
    file = msgspec.json.decode(path.read_bytes()) if path.exists() else empty
    file["images"].append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
    for name, points in corners.items():
        flat = [[value for point in points for value in point]]
        one = {"id": len(file["annotations"]) + 1, "image_id": number, "category_id": 1, "segmentation": flat}
        file["annotations"].append(one | {"expression": f"the {name} one"})
    path.write_bytes(msgspec.json.encode(file))


@pytest.mark.parametrize(
    ("name", "write"), [("labelme", as_labelme), ("label_studio", as_label_studio), ("coco", as_coco)]
)
def test_a_thing_of_ones_own_data_that_cannot_be_used_could_be_anywhere(
    name: str, write: Callable[[Path, int, dict[str, list[list[float]]]], None], tmp_path: Path
) -> None:
    whole = {
        place: [
            [x0 * WIDTH, y0 * HEIGHT],
            [x1 * WIDTH, y0 * HEIGHT],
            [x1 * WIDTH, y1 * HEIGHT],
            [x0 * WIDTH, y1 * HEIGHT],
        ]
        for place, (x0, y0, x1, y1) in SHARES.items()
    }
    said = []
    for case, more in (("two", {}), ("broken", {"third": BROKEN})):
        data = tmp_path / case
        data.mkdir()
        for number in range(1, 9):
            (data / f"{number}.jpg").write_bytes(PICTURE)
            write(data, number, whole | more)
        (built,) = build(data, tmp_path / f"out-{case}", name, rounds=2)
        records, rejects = read_set(built.folder)
        assert bool(rejects) == bool(more)
        assert all(len(talk.expressions) == 2 for loaded in records for talk in loaded.record.dialogues)
        said.append({one.relation for loaded in records for talk in loaded.record.dialogues for one in rounds_of(talk)})
    assert "other" in said[0]
    assert said[1] == {""}  # the third may be the other one, and anywhere


def test_bytes_are_equal_for_any_workers_and_one_round_is_no_setting(tmp_path: Path) -> None:
    root = raw_set(tmp_path / "data", 9).save()
    for name, workers, options in (
        ("a", 1, {"rounds": 3}),
        ("b", 2, {"rounds": 3}),
        ("c", 1, {"rounds": 1}),
        ("d", 1, {}),
    ):
        build(root, tmp_path / name, workers=workers, passes=2, shard_records=2, **options)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")
    assert tree(tmp_path / "a") != tree(tmp_path / "c")
    assert not any(b'"rounds"' in data for data in tree(tmp_path / "c").values())


def test_requests_that_are_refused_leave_the_others_joined(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "good", "also good", "   ")
    raw.ref(1, "bad", segmentation=[[1.0, 2.0]])
    records, rejects = build_one(raw, tmp_path / "out", rounds=4)
    (dialogue,) = records[0].record.dialogues
    assert sorted(dialogue.expressions) == ["also good", "good"]
    assert {"empty-text", "target-refused"} <= set(reasons(rejects))


def test_another_number_of_rounds_is_another_set(tmp_path: Path) -> None:
    root = raw_set(tmp_path / "data").save()
    build(root, tmp_path / "out")
    with pytest.raises(StampError, match="rounds 1, now 3"):
        build(root, tmp_path / "out", rounds=3)


@pytest.mark.parametrize("rounds", [0, -1, 11, 10**9])
def test_a_number_of_rounds_that_cannot_be(rounds: int, tmp_path: Path) -> None:
    root = raw_set(tmp_path / "data").save()
    with pytest.raises(UsageFault, match=f"{rounds} rounds in a dialogue"):
        build(root, tmp_path / "out", rounds=rounds)
    assert not (tmp_path / "out").exists()


def test_the_command_says_so_in_one_line(tmp_path: Path, stamp_data: Command) -> None:
    done = stamp_data("build", "all", "--root", tmp_path, "--out", tmp_path / "out", "--rounds", "0")
    assert done.returncode == 2
    assert one_line(done.stderr) == "error: 0 rounds in a dialogue"
