"""Answers, worked out again from the words of the question and the pixels of the picture."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from stamp_data.synth.render import render
from stamp_data.synth.scene import COLOURS, Scene, Stream, generator, sample_scene
from stamp_data.synth.shapes import SHAPES
from tools.tiny_base.questions import FORMS, Question, ask, kind_of

_SINGULAR = {shape.plural: name for name, shape in SHAPES.items()} | {"objects": "object"}
_NAME = rf"((?:{'|'.join(COLOURS)}) )?((?:{'|'.join([*SHAPES, *_SINGULAR, 'object'])}))"
SIZE = (256, 192)


class Picture:
    """What is there, measured in pixels."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scene: Scene = sample_scene(generator(77, Stream.SCENE, number), SIZE)
        drawing = render(self.scene, generator(77, Stream.PAINT, number))
        self.names = [(thing.colour, thing.shape) for thing in self.scene.things]
        self.areas = [float(plane.sum()) for plane in drawing.shown]
        rows, columns = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
        self.xs = [float((plane * columns).sum() / plane.sum()) for plane in drawing.shown]
        self.ys = [float((plane * rows).sum() / plane.sum()) for plane in drawing.shown]
        self.questions = ask(self.scene, generator(77, Stream.LLAVA, number))

    def named(self, words: str) -> list[int]:
        """Things that a noun phrase names."""
        found = re.search(_NAME, words)
        assert found, words
        colour, shape = (found[1] or "").strip(), _SINGULAR.get(found[2], found[2])
        return [i for i, (c, s) in enumerate(self.names) if colour in ("", c) and shape in ("object", s)]

    def towards(self, side: str, thing: int) -> float:
        return {"left": -self.xs[thing], "right": self.xs[thing], "top": -self.ys[thing], "bottom": self.ys[thing]}[
            side
        ]

    def one(self, words: str) -> int:
        (thing,) = self.named(words)
        return thing


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [Picture(number) for number in range(12)]


def _check(pictures: list[Picture], form: str) -> list[tuple[Picture, Question]]:
    found = [(picture, question) for picture in pictures for question in picture.questions if question.form == form]
    assert len(found) > 5
    return found


def _attribute(picture: Picture, question: Question, thing: int) -> str:
    colour, shape = picture.names[thing]
    return colour if question.text.startswith("What color") else shape


@pytest.mark.parametrize("form", ["colour", "shape"])
def test_the_only_one_of_a_kind(pictures: list[Picture], form: str) -> None:
    for picture, question in _check(pictures, form):
        assert question.answer == _attribute(picture, question, picture.one(question.text.partition(" is ")[2]))


_EXTREMES = {
    "leftmost": "left", "on the far left": "left", "rightmost": "right", "on the far right": "right",
    "topmost": "top", "at the very top": "top", "lowest": "bottom", "at the very bottom": "bottom",
}  # fmt: skip


def test_the_furthest(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "place/extreme"):
        (side,) = (side for words, side in _EXTREMES.items() if words in question.text)
        things = picture.named(question.text)
        assert len(things) > 1
        assert question.answer == _attribute(picture, question, max(things, key=lambda i: picture.towards(side, i)))


@pytest.mark.parametrize("form", ["place/side", "place/corner"])
def test_the_one_at_a_side(pictures: list[Picture], form: str) -> None:
    words = {"left": "left", "right": "right", "top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom"}
    width, height = SIZE
    third = {"left": -width / 3, "right": width * 2 / 3, "top": -height / 3, "bottom": height * 2 / 3}
    for picture, question in _check(pictures, form):
        sides = [words[word] for word in re.findall(r"\w+", question.text) if word in words]
        assert len(sides) == (2 if form == "place/corner" else 1)
        things = [i for i in picture.named(question.text) if all(picture.towards(s, i) > third[s] for s in sides)]
        assert len(things) == 1
        assert question.answer == _attribute(picture, question, things[0])


def test_where_it_is(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "place/where"):
        thing = picture.one(question.text)
        across, down = (
            int(3 * at / size) for at, size in zip((picture.xs[thing], picture.ys[thing]), SIZE, strict=True)
        )
        words = [("top", "", "bottom")[down], ("left", "", "right")[across]]
        assert question.answer == (" ".join(filter(None, words)) or "center")


def test_the_largest(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "size/extreme"):
        best = max if re.search("largest|biggest", question.text) else min
        chosen = best(picture.named(question.text), key=lambda i: picture.areas[i])
        assert question.answer == _attribute(picture, question, chosen)


def test_the_larger_of_two(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "size/than"):
        one, other = (picture.areas[picture.one(words)] for words in question.text.split(" than "))
        assert question.answer == ("Yes" if (one > other) == ("larger" in question.text) else "No")


_BESIDE = {" left of ": "left", " right of ": "right", " above ": "top", " below ": "bottom"}


def test_the_one_beside_another(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "relation/of"):
        ((words, side),) = ((words, side) for words, side in _BESIDE.items() if words in question.text)
        first, _, second = question.text.partition(words)
        anchor = picture.one(second)
        ahead = [i for i in picture.named(first) if picture.towards(side, i) > picture.towards(side, anchor)]
        assert len(ahead) == 1
        assert question.answer == _attribute(picture, question, ahead[0])


def test_whether_it_is_beside_another(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "relation/is"):
        ((words, side),) = ((words, side) for words, side in _BESIDE.items() if words in question.text)
        first, _, second = question.text.partition(words)
        true = picture.towards(side, picture.one(first)) > picture.towards(side, picture.one(second))
        assert question.answer == ("Yes" if true else "No")


def test_how_many(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "count"):
        assert question.answer == str(len(picture.named(question.text)))


def test_whether_it_is_there(pictures: list[Picture]) -> None:
    answers: Counter[tuple[bool, str]] = Counter()
    for picture, question in _check(pictures, "absence"):
        found = re.search(_NAME, question.text)
        answers[bool(found and found[1] and found[2] != "object"), question.answer] += 1
        assert question.answer == ("Yes" if picture.named(question.text) else "No")
    for pair in (True, False):  # the words alone tell nothing
        assert answers[pair, "Yes"] == answers[pair, "No"]


def test_descriptions_name_everything_in_order(pictures: list[Picture]) -> None:
    for picture, question in _check(pictures, "description"):
        side = "right" if question.text.endswith("left to right?") else "bottom"
        order = sorted(range(len(picture.names)), key=lambda i: picture.towards(side, i))
        assert question.answer == ", ".join(" ".join(picture.names[i]) for i in order)


_OPENING = re.compile(r".*?(?:description|described output) (?:for|focusing on the|highlighting the) ")


def test_a_phrase_is_said_again_and_then_what_it_means(pictures: list[Picture]) -> None:
    plain = 0
    for picture, question in _check(pictures, "reference"):
        said, meant = question.answer.removeprefix("Here is ").split(": ")
        if question.text.startswith("Find"):
            assert question.text == f"Find {said}."
        else:  # the words of a request around it, which speak of no masks here
            assert not re.search("segment|mask|map", question.text + question.answer)
            said = _OPENING.sub("", said)
            assert said in question.text
        found = [] if meant == "none" else [picture.named(name) for name in meant.split(" and ")]
        assert all(found)
        named = picture.named(said)
        assert all(set(things) <= set(named) for things in found)
        if re.fullmatch(
            rf"(?:the |all |all the |both |every one of the |the (?:two|three|four|five|six|seven) )?{_NAME}", said
        ):
            plain += 1
            colours_and_shapes = sorted(picture.names[thing] for thing in named)
            assert sorted(picture.names[things[0]] for things in found) == colours_and_shapes
    assert plain > 20


def test_a_portrait_says_where_a_thing_is(pictures: list[Picture]) -> None:
    said = 0
    for picture, question in _check(pictures, "reference"):
        meant, _, where = question.answer.rpartition(": ")[2].partition(", ")
        things = picture.named(meant) if meant != "none" else []
        if len(things) == 1 and where and " and " not in question.answer:
            said += 1
            across, down = picture.xs[things[0]] / SIZE[0], picture.ys[things[0]] / SIZE[1]
            assert ("left" in where) == (across < 1 / 3) and ("right" in where) == (across > 2 / 3)
            assert ("top" in where) == (down < 1 / 3) and ("bottom" in where) == (down > 2 / 3)
    assert said > 20


def test_a_question_is_asked_once_and_every_form_is_tested(pictures: list[Picture]) -> None:
    for picture in pictures:
        texts = [question.text for question in picture.questions]
        assert len(texts) == len(set(texts))
    assert {question.form for picture in pictures for question in picture.questions} == set(FORMS)
    assert {kind_of(form) for form in FORMS} == {
        "colour", "shape", "place", "size", "count", "relation", "absence", "description", "reference", "extent", "group",
    }  # fmt: skip


def test_from_where_to_where(pictures: list[Picture]) -> None:
    """Of the parts that a thing reaches, the first and the last, by its pixels; what its words name is told in other forms."""
    for picture, question in _check(pictures, "extent"):
        down = question.text.endswith("from top to bottom?")
        spans = {
            _span(plane, down) for plane in render(picture.scene, generator(77, Stream.PAINT, picture.number)).shown
        }
        assert tuple(map(int, question.answer.split(" to "))) in spans


def _span(plane: np.ndarray[Any, Any], down: bool) -> tuple[int, int]:
    along = plane.any(1 if down else 0).nonzero()[0]
    part = len(plane) / 6 if down else plane.shape[1] / 8
    return int(along[0] / part) + 1, int(along[-1] / part) + 1


def _bounds(plane: np.ndarray[Any, Any]) -> list[float]:
    """Left, top, right and bottom of what is shown, as fractions."""
    rows, columns = plane.any(1).nonzero()[0], plane.any(0).nonzero()[0]
    height, width = plane.shape
    return [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]


def test_boxes_are_those_of_what_is_spoken_of(pictures: list[Picture]) -> None:
    boxed = set()
    for picture in pictures:
        drawn = render(picture.scene, generator(77, Stream.PAINT, picture.number))
        bounds = [_bounds(plane) for plane in drawn.shown]
        for question in picture.questions:
            if question.boxes is None:
                continue
            boxed.add(question.form)
            things = [
                [i for i, one in enumerate(bounds) if np.allclose(one, box, atol=3 / SIZE[1])] for box in question.boxes
            ]
            assert all(things), question
            if question.form in ("colour", "shape"):
                assert picture.one(question.text.partition(" is ")[2]) in things[0]
            elif question.form in ("reference", "group"):
                meant = question.answer.rpartition(": ")[2]
                names = [] if meant == "none" else meant.split(" and ")
                assert len(names) == len(things)
                assert all(any(set(found) & set(picture.named(name)) for found in things) for name in names)
            elif question.form == "count":
                assert question.answer == str(len(things))
            elif question.form == "absence":
                assert question.answer == ("Yes" if things else "No")
            elif question.form not in ("extent", "place/where"):
                assert question.answer in {_attribute(picture, question, thing) for thing in things[0]}
    assert boxed == set(FORMS) - {"size/than", "relation/is", "description"}


def test_a_group_is_meant_whole(pictures: list[Picture]) -> None:
    """Both of a pair, all on a side of another; or none."""
    told = set()
    for picture, question in _check(pictures, "group"):
        said, meant = question.answer.removeprefix("Here is ").split(": ")
        said = _OPENING.sub("", said)
        found = 0 if meant == "none" else len(meant.split(" and "))
        told.add(min(found, 2))
        beside = re.search(r" (left of|right of|above|below) the ", said)
        if found == 2 and said.count(" and ") == 1 and not beside:
            names = [" ".join(picture.names[picture.one(name)]) for name in said.split(" and ")]
            assert sorted(names) == sorted(name.partition(",")[0] for name in meant.split(" and "))
        elif found:
            assert beside and said.startswith(("all", "both", "every", "the "))
            side = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}[beside[1]]
            anchor = picture.one(said[beside.end() :])
            meant_names = Counter(name.partition(",")[0] for name in meant.split(" and "))
            there = Counter(
                " ".join(picture.names[i])
                for i in range(len(picture.names))
                if i != anchor and picture.towards(side, i) > picture.towards(side, anchor)
            )
            assert not meant_names - there
    assert told == {0, 2}
