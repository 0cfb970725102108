"""What is said of phrases and masks while somebody is at them: the flags that `inspect` has for a built set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.hints import Model, hints
from stamp_data.annotate.store import Store
from stamp_data.grid import coverage, patch_grid
from stamp_data.inspect.inspection import inspect_sets
from stamp_schemas import Grid, StampError
from stamp_schemas.annotated import ANNOTATED_SCHEMA, AnnotatedImage, DrawnMask, SaidPhrase

from ..raw import build
from .making import HEIGHT, WIDTH, image, mask, put_images, said
from .serving import Served, Watched

USUAL = Model(side=1)


def document(*phrases: SaidPhrase, masks: tuple[DrawnMask, ...] = ()) -> AnnotatedImage:
    return AnnotatedImage(ANNOTATED_SCHEMA, image(), 1, list(phrases), list(masks))


def codes(*phrases: SaidPhrase, masks: tuple[DrawnMask, ...]) -> set[tuple[str, str]]:
    found = hints(document(*phrases, masks=masks), phrases, "", USUAL)
    return {(flag.code, flag.phrase) for flag in found.flags}


CUP = {"categories": ["cup"]}
LEFT, RIGHT = mask("m1", (0, 8, 24, 32), **CUP), mask("m2", (40, 8, 64, 32), **CUP)


@pytest.mark.parametrize(
    ("phrases", "expected"),
    [
        ((said("p1", "red one"), said("p2", "Red one!", ("m2",))), {("STP-W002", "p2")}),
        ((said("p1", "red one"), said("p2", "red  one")), {("STP-W001", "p2")}),
        ((said("p1", "the cup"),), {("STP-I001", "p1")}),
        ((said("p1", "right cup"),), {("STP-W010", "p1")}),
        ((said("p1", "left cup"), said("p2", "right cup", ("m2",))), set()),
        ((said("p1", "a <|seg|> cup"),), {("STP-E005", "p1")}),
        ((said("p1", "a {sent} cup", ()),), {("STP-E005", "p1")}),
        ((said("p1", " ", ()),), {("STP-E005", "p1")}),
        ((said("p1", "a cup\x07", ()),), {("STP-E005", "p1")}),
        ((said("p1", "\u200b"),), {("STP-E005", "p1")}),  # nothing that could be seen
        ((said("p1", "a cow", (), nothing="absent"),), set()),
    ],
)
def test_flags_name_their_phrase(phrases: tuple[SaidPhrase, ...], expected: set[tuple[str, str]]) -> None:
    others = [
        said("q1", "one thing", ("m1",)),
        said("q2", "another thing", ("m2",)),
    ]  # both are told of, so that they are peers
    assert codes(*others, *phrases, masks=(LEFT, RIGHT)) == expected


def test_a_mask_that_vanishes_is_told_of() -> None:
    phrase = said()
    found = hints(document(phrase, masks=(mask("m1", (3, 3, 5, 5)),)), [phrase], "m1", Model(4, 16))
    assert [(flag.code, flag.phrase) for flag in found.flags] == [("STP-W003", "p1")]
    assert found.patches is not None and (found.patches.solid, found.patches.iou) == (0, 0.0)


def test_they_are_the_flags_of_the_built_set(tmp_path: Path) -> None:
    phrases = [said("p1", "the cup", status="accepted"), said("p2", "the other", ("m2",), status="accepted")]
    phrases += [said("p3", "right cup", status="accepted"), said("p4", "tiny", ("m3",), status="accepted")]
    masks = {"m1": LEFT, "m2": RIGHT, "m3": mask("m3", (30, 40, 32, 41))}
    root = put_images(tmp_path / "data", "a.jpg")
    opened = Store(root / "annotations").change(image(), 0, Change({one.id: one for one in phrases}, dict(masks)))
    built = build(root, tmp_path / "out", "annotations", min_tokens=4, max_tokens=16)
    flags = {flag.code for flag in inspect_sets([one.folder for one in built]).flags}
    found = {flag.code for flag in hints(opened.document, phrases, "", Model(4, 16, side=1)).flags}
    assert found == flags and {"STP-I001", "STP-W010", "STP-W003"} <= found


@pytest.mark.parametrize("side", [1, 4])
def test_labels_and_what_they_lose_held_against_pixels(side: int) -> None:
    pixels = (np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.5).astype(np.uint8)
    pixels[10:30, 20:60] = 1
    one = DrawnMask("m1", rle.encode(pixels))
    found = hints(document(masks=(one,)), [], "m1", Model(4, 16, side=side)).patches
    grid = patch_grid(HEIGHT, WIDTH, 4, 16)
    fine = Grid(grid.height * side, grid.width * side)
    labels = coverage(pixels, fine)
    assert found is not None and found.grid == (fine.height, fine.width)
    assert np.array_equal(np.array(found.labels).reshape(found.grid), labels)
    assert found.solid == (labels >= 127).sum()
    y = ((np.arange(HEIGHT * 840) + 0.5) / 840 * fine.height / HEIGHT).astype(int)[420::840]
    x = ((np.arange(WIDTH * 840) + 0.5) / 840 * fine.width / WIDTH).astype(int)[420::840]
    drawn = (labels >= 127)[np.ix_(y, x)]  # each pixel by the patch of its middle
    near = (drawn & (pixels == 1)).sum() / (drawn | (pixels == 1)).sum()
    assert found.iou == pytest.approx(near, abs=0.03)  # pixels that lie in two patches count for both there


def test_faults() -> None:
    with pytest.raises(StampError, match="not there"):
        hints(document(), [said()], "", USUAL)
    long = AnnotatedImage(ANNOTATED_SCHEMA, type(image())("a.jpg", 1, 999))
    with pytest.raises(StampError, match="longer than"):
        hints(long, [], "", USUAL)


@pytest.mark.browser
def test_on_the_page(chromium: Any, tmp_path: Path) -> None:
    served = Served(put_images(tmp_path / "photos", "a.png", size=(160, 120)))
    watched = Watched(chromium, served.address)
    watched.say("it")
    watched.keys("r")
    watched.pen((20, 20), (80, 80))
    watched.wait("document.querySelector('#patch-facts').textContent.includes('lost')")
    assert "about 1 token" in watched.page.inner_text("#hints-p1")
    watched.say("this one")
    watched.pen((100.5, 20), (140, 80))
    watched.keys("t")
    watched.page.keyboard.type("It!")
    watched.wait("document.querySelector('#hints-p2').textContent.includes('STP-W002')")  # it is still being written
    watched.keys("Enter")
    watched.saved()
    watched.wait("annotate.hints.known?.patches")
    watched.page.evaluate("window.before = document.querySelector('#masks-canvas').toDataURL()")
    watched.keys("P")
    watched.wait("document.querySelector('#masks-canvas').toDataURL() !== window.before")
    watched.close()
    served.close()


@pytest.mark.browser
def test_a_picture_that_no_model_takes_says_so(chromium: Any, tmp_path: Path) -> None:
    served = Served(put_images(tmp_path / "photos", "a.png", size=(1000, 4)))
    watched = Watched(chromium, served.address)
    watched.say("it")
    watched.wait("document.querySelector('#patch-facts').textContent.includes('longer than 200:1')")
    watched.saved()  # it can be annotated all the same
    watched.complaints.clear()  # the browser notes the 422
    watched.close()
    served.close()
