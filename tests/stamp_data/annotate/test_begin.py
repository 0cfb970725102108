"""What built sets say of pictures, as a beginning."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stamp_data import rle
from stamp_data.annotate.begin import begin_from, flagged
from stamp_data.annotate.change import Change
from stamp_data.annotate.hints import Model
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_schemas import StampError, UsageFault

from ..raw import build
from ..sources.formats.making import Said
from .making import HEIGHT, WIDTH, image, mask, put_images, said


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two pictures as a built set, one of them turned by EXIF; their files are called otherwise than the set's."""
    root = put_images(tmp_path / "data", "a.png", "b.png", "c.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH), "red").save(root / "c.jpg", exif=exif)
    store, phrases = Store(root / "annotations"), {}
    for name, text, more in (
        ("p1", "the cup", {}),
        ("p2", "red cup", {}),
        ("p3", "a cow", {"nothing": "absent", "masks": ()}),
        ("p4", "both", {"masks": ("m1", "m2")}),
    ):
        phrases[name] = said(name, text, status="accepted", **more)
    masks = {"m1": mask(categories=["cup"]), "m2": mask("m2", (50, 0, 60, 9), categories=["cup"])}
    masks["m3"] = mask("m3", (0, 40, 9, 48), role="ignore")
    for name in ("a.png", "c.jpg"):
        store.change(image(name), 0, Change(dict(phrases), dict(masks)))
    build(root, tmp_path / "shards", "annotations", min_tokens=4, max_tokens=16, passes=2)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        (root / name).rename(photos / f"other-{name}")
    return tmp_path / "shards"


def test_phrases_masks_and_nothing_are_proposed(sets: Path, tmp_path: Path) -> None:
    images, store = Images(tmp_path / "photos"), Store(tmp_path / "out")
    told = begin_from([str(sets)], images, store)
    assert (told.known, told.begun) == (2, 2)
    for name in ("other-a.png", "other-c.jpg"):
        document = store.peek(name)
        assert document is not None and (document.image.width, document.image.height) == (WIDTH, HEIGHT)
        assert sorted(phrase.text for phrase in document.phrases) == ["a cow", "both", "red cup", "the cup"]
        assert {phrase.status for phrase in document.phrases} == {"proposed"}
        by_text = {phrase.text: phrase for phrase in document.phrases}
        assert by_text["a cow"].nothing and by_text["the cup"].masks == by_text["red cup"].masks
        pixels = {one.id: rle.decode(one.rle) for one in document.masks}
        cup = pixels[by_text["the cup"].masks[0]]
        assert cup[8:32, 8:40].all() and cup.sum() == 24 * 32
        assert pixels["ignored"][40:, :9].all()
        assert all(one.proposal and one.proposal.model for one in document.masks if one.role == "target")


def test_what_is_accepted_again_is_built_as_it_was(sets: Path, tmp_path: Path) -> None:
    images, store = Images(tmp_path / "photos"), Store(tmp_path / "photos/annotations")
    begin_from([str(sets)], images, store)
    for number, name in ((0, "other-a.png"), (2, "other-c.jpg")):
        document = store.open(images.file(number)).document
        assert document.image.path == name
        accepted = {one.id: type(one)(one.id, one.text, one.masks, one.nothing, "accepted") for one in document.phrases}
        store.change(images.file(number), 1, Change(accepted))
    again = Said(tmp_path / "photos", tmp_path / "again", "annotations")
    assert set(again.phrases) == {"a cow", "both", "red cup", "the cup"} and not again.rows
    stored = again.mask("both", "other-c.jpg")
    assert stored.shape == (WIDTH, HEIGHT)
    assert np.array_equal(np.rot90(again.mask("both", "other-a.png")), stored)


def test_what_is_there_already_stays(sets: Path, tmp_path: Path) -> None:
    images, store = Images(tmp_path / "photos"), Store(tmp_path / "out")
    store.change(images.file(0), 0, Change({"p1": said(masks=(), text="mine")}))
    told = begin_from([str(sets)], images, store)
    assert (told.known, told.begun) == (2, 1)
    document = store.peek("other-a.png")
    assert document is not None and [phrase.text for phrase in document.phrases] == ["mine"]
    with pytest.raises(StampError, match="no format that is known"):
        begin_from([str(tmp_path / "photos")], images, store)
    with pytest.raises(UsageFault, match="does not exist"):
        begin_from([str(tmp_path / "nowhere")], images, store)


def test_pictures_of_the_same_bytes_are_all_begun(sets: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "twice.png").write_bytes((photos / "other-a.png").read_bytes())
    images, store = Images(photos), Store(tmp_path / "out")
    assert (told := begin_from([str(sets)], images, store)).known == told.begun == 3
    one, other = store.peek("other-a.png"), store.peek("twice.png")
    assert one is not None and other is not None and len(one.phrases) == 4
    assert [(said.text, said.masks) for said in one.phrases] == [(said.text, said.masks) for said in other.phrases]


def test_flagged_pictures_alone(tmp_path: Path) -> None:
    root = put_images(tmp_path / "photos", "a.png", "b.png", "c.png", "d.png")
    store = Store(root / "annotations")
    store.change(image("a.png"), 0, Change({"p1": said(), "p2": said("p2")}, {"m1": mask()}))  # twice the same
    store.change(image("b.png"), 0, Change({"p1": said()}, {"m1": mask()}))
    (root / "annotations/c.png.json").write_text("{")
    assert flagged(Images(root, (root / "annotations",)), store, Model()) == ["a.png", "c.png"]


def test_the_command(sets: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from stamp_cli.data import main; main()", "annotate", str(tmp_path / "photos")]
    running = subprocess.Popen(
        [*command, "--from", str(sets)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert running.stderr is not None
    assert running.stderr.readline() == f"2 of 3 pictures are in {sets}; 2 were begun from there\n"
    assert "annotate patch" in running.stderr.readline()
    assert running.stderr.readline().startswith("http://127.0.0.1:")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    held = json.loads((tmp_path / "photos/annotations/other-a.png.json").read_text())
    assert held["phrases"][0]["made"]["by"] == str(sets)
    empty = put_images(tmp_path / "empty", "z.png")
    done = subprocess.run([*command[:-1], str(empty), "--flagged"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "nothing is flagged" in done.stderr
