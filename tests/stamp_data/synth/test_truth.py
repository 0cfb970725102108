"""Every expression is true of the picture: checked on pixels and masks, by a reader of English that knows no predicates."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from stamp_data.synth.plan import plan_pictures
from stamp_data.synth.render import render
from stamp_data.synth.riddles import RIDDLES
from stamp_data.synth.scene import Scene, Stream, generator, sample_scene

from .conftest import IMAGES, SEED, SIZE
from .reading import COLOURS, SETS, Seen, colour_of, decode, load_instances, load_refs, meaning, see

PLACES = re.compile(r"\b(left|right|top|bottom|above|below|lowest|leftmost|rightmost|topmost|corner)\b")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
LIKENESS = {  # words in a question of ReasonSeg -> what answers it
    "wheel": {"circle", "ring"}, "roll away": {"circle", "ring"}, "no corner": {"circle", "ring"},
    "threaded": {"ring"}, "finger": {"ring"}, "porthole": {"ring"},
    "Christmas": {"star"}, "hotel": {"star"}, "United States": {"star"},
    "three corners": {"triangle"}, "tent": {"triangle"}, "straight lines": {"triangle"}, "warns": {"triangle"},
    "chess": {"square"}, "die": {"square"}, "A box is as wide": {"square"},
    "rugby": {"ellipse"}, "stretched": {"ellipse"}, "plate": {"ellipse"},
    "added": {"cross"}, "addition": {"cross"}, "bandages": {"cross"}, "more": {"cross"},
    "equation": {"equals sign"}, "rails": {"equals sign"}, "result": {"equals sign"},
    "tomato": {"red"}, "stop": {"red"}, "carrot": {"orange"}, "fruit": {"orange"}, "lemon": {"yellow"},
    "canaries": {"yellow"}, "grass": {"green"}, "drivers go": {"green"}, "sky": {"blue"}, "lakes": {"blue"},
    "aubergine": {"purple"}, "mixed": {"purple"}, "coal": {"black"},
    "paint to be covered": {"largest"}, "use up": {"largest"}, "hide": {"largest"},
    "lightest": {"smallest"}, "pocket": {"smallest"}, "overlook": {"smallest"},
}  # fmt: skip


def scenes(family: str) -> dict[str, Scene]:
    """The scenes of a family by the path of their pictures."""
    slots = [slot for slot in plan_pictures(IMAGES, SEED) if slot.family == family]
    return {s.path: sample_scene(generator(SEED, Stream.SCENE, s.index), SIZE) for s in slots}


@pytest.mark.parametrize(("name", "split_by"), [(name, ways[0]) for name, ways in SETS.items()])
def test_refer_expressions_mean_their_thing(playground: Path, name: str, split_by: str) -> None:
    folder = "refer_seg/images/" + ("saiapr_tc-12" if name == "refclef" else "coco_2014/train2014")
    seen = see(playground, load_instances(playground, name), folder)
    for ref in load_refs(playground, name, split_by):
        for s in ref["sentences"]:
            assert meaning(s["sent"], *seen[ref["image_id"]]) == {ref["ann_id"]}, s["sent"]


def test_grefcoco_expressions_mean_exactly_their_set(playground: Path) -> None:
    seen = see(playground, load_instances(playground, "grefcoco"), "refer_seg/images/coco_2014/train2014")
    for ref in load_refs(playground, "grefcoco", "unc"):
        expected = set() if ref["no_target"] else set(ref["ann_id"])
        assert meaning(ref["sentences"][0]["sent"], *seen[ref["image_id"]]) == expected, ref


def test_refcoco_plus_uses_no_places_and_refcocog_more_words(playground: Path) -> None:
    lengths = {}
    for name, ways in SETS.items():
        texts = [s["sent"] for ref in load_refs(playground, name, ways[0]) for s in ref["sentences"]]
        lengths[name] = np.mean([len(text.split()) for text in texts])
        assert any(PLACES.search(text) for text in texts) == (name != "refcoco+")
    assert lengths["refcocog"] > 2 * lengths["refcoco"]


def test_masks_are_what_the_renderer_shows(playground: Path) -> None:
    by_path = scenes("train2014")
    slots = {s.path: s for s in plan_pictures(IMAGES, SEED)}
    loaded = load_instances(playground, "refcoco")
    worst = 1.0
    for image in loaded["images"]:
        path = f"refer_seg/images/coco_2014/train2014/{image['file_name']}"
        shown = render(by_path[path], generator(SEED, Stream.PAINT, slots[path].index)).shown
        annotations = [a for a in loaded["annotations"] if a["image_id"] == image["id"]]
        for a, plane in zip(annotations, shown, strict=True):
            ours, rendered = decode(a["segmentation"], image["height"], image["width"]), plane >= 0.5
            assert abs(a["area"] - plane.sum()) < 0.03 * a["area"]
            if rendered.sum() > 100:
                worst = min(worst, (ours & rendered).sum() / (ours | rendered).sum())
    assert worst > 0.97


def test_reason_seg_polygons_answer_the_question(playground: Path) -> None:
    for path, scene in scenes("reason_seg").items():
        picture = np.asarray(Image.open(playground / path))
        record = json.loads((playground / path).with_suffix(".json").read_text(encoding="utf-8"))
        regions = {"target": np.zeros(picture.shape[:2], bool), "ignore": np.zeros(picture.shape[:2], bool)}
        for shape in record["shapes"]:
            if shape["label"] != "flag":
                flat = [[v for point in shape["points"] for v in point]]
                regions[shape["label"]] |= coco_mask.decode(coco_mask.frPyObjects(flat, *picture.shape[:2]))[..., 0] > 0
        for text in record["text"]:
            (asked,) = {frozenset(v) for k, v in LIKENESS.items() if re.search(rf"\b{k}", text)} or {frozenset()}
            found = answer(scene, set(asked))
            planes = render(scene, generator(0, Stream.PAINT)).shown
            expected = sum((planes[i] for i in found), np.zeros(picture.shape[:2])) >= 0.5
            overlap = (regions["target"] & expected).sum() / (regions["target"] | expected).sum()
            assert overlap > 0.96, text
            assert not (regions["target"] & regions["ignore"]).sum() > 40
            if asked <= COLOURS.keys():
                assert colour_of(picture, regions["target"]) in asked


def answer(scene: Scene, asked: set[str]) -> list[int]:
    sizes = [thing.area for thing in scene.things]
    if asked == {"largest"}:
        return [int(np.argmax(sizes))]
    if asked == {"smallest"}:
        return [int(np.argmin(sizes))]
    return [i for i, t in enumerate(scene.things) if t.shape in asked or t.colour in asked]


def test_every_riddle_is_known_to_this_test() -> None:
    for riddle in RIDDLES:
        for text in riddle.questions + riddle.phrases:
            assert len({frozenset(v) for k, v in LIKENESS.items() if re.search(rf"\b{k}", text)}) == 1, text


def test_llava_answers_are_true(playground: Path) -> None:
    by_path = scenes("llava")
    checked: set[str] = set()
    for record in json.loads((playground / "llava_v1_5_mix665k.json").read_text(encoding="utf-8")):
        values = [turn["value"] for turn in record["conversations"]]
        for question, reply in zip(values[::2], values[1::2], strict=True):
            if "image" in record:
                question = question.replace("<image>", "").split("\nAnswer")[0].strip()
                checked.add(check_answer(question, reply, by_path[record["image"]]))
            elif sum_ := re.fullmatch(r"What is (\d+) plus (\d+)\?", question):
                assert reply.endswith(f" {int(sum_[1]) + int(sum_[2])}.")
    assert checked == {"how many", "what color", "what shape", "is there", "which", "is the"}


def check_answer(question: str, reply: str, scene: Scene) -> str:
    """Check one answer, in a word or in a sentence; the sort of question it was."""
    things = [Seen(i, t.shape, t.colour, *t.centre, int(t.area)) for i, t in enumerate(scene.things)]
    size, said = (scene.width, scene.height), reply.lower().rstrip(".")
    if m := re.fullmatch(r"How many (.+) are there in the picture\?", question):
        count = len(meaning(m[1], things, size))
        words = (str(count), "no" if count == 0 else NUMBERS[count - 1])
        assert set(said.split()) & set(words), (question, reply)
        return "how many"
    if m := re.fullmatch(r"What (color|shape) is the (.+)\?", question):
        (i,) = meaning(m[2], things, size)
        assert said.endswith(things[i].colour if m[1] == "color" else things[i].shape), (question, reply)
        return f"what {m[1]}"
    if m := re.fullmatch(r"Is there an? (.+) in the picture\?", question):
        assert said.startswith("yes" if meaning(m[1], things, size) else "no"), (question, reply)
        return "is there"
    if m := re.fullmatch(r"Which object is (?:furthest to|closest to) the (.+)\?", question):
        (i,) = meaning(f"object on the far {m[1]}", things, size)
        assert said.endswith(f"{things[i].colour} {things[i].shape}"), (question, reply)
        return "which"
    m = re.fullmatch(r"Is the (.+?) ((?:to the )?(?:left of|right of|above|below) the .+)\?", question)
    assert m, question
    assert said.startswith("yes" if meaning(f"{m[1]} {m[2]}", things, size) else "no"), (question, reply)
    return "is the"
