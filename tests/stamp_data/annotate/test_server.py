"""What the server of the page lets in and gives out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from stamp_data.annotate import store
from stamp_data.annotate.assist import UInt8
from stamp_data.annotate.images import Images
from stamp_data.annotate.server import Clicker, Models
from stamp_data.annotate.store import load_document
from stamp_schemas import StampError, UsageFault

from ..raw import Command
from .making import HEIGHT, WIDTH, box, put_images
from .serving import Served

PHRASE = {"id": "p1", "text": "the red cup", "masks": ["m1"], "status": "accepted"}
RLE = {"size": [HEIGHT, WIDTH], "counts": box(8, 8, 40, 32).counts}
EDIT = {"revision": 0, "change": {"phrases": {"p1": PHRASE}, "masks": {"m1": {"id": "m1", "rle": RLE}}}}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    running = Served(put_images(tmp_path / "photos", "a.png", "sub/b.png"))
    yield running
    running.close()


def test_pictures_and_what_is_said_of_them(served: Served) -> None:
    status, listed = served.ask("api/list")
    assert status == 200 and listed["by"] == "Ada"
    assert [(row["name"], row["state"]) for row in listed["images"]] == [
        ("a.png", "untouched"),
        ("sub/b.png", "untouched"),
    ]
    assert served.ask("api/image?image=1")[1][:4] == b"\x89PNG"
    status, saved = served.ask("api/edit?image=1", EDIT)
    assert (status, saved["revision"], saved["row"]["state"], saved["undo"]) == (200, 1, "done", True)
    assert served.document("sub/b.png").phrases[0].made.by == "Ada"
    status, opened = served.ask("api/undo?image=1&revision=1", b"")
    assert status == 200 and not opened["document"].get("phrases") and opened["redo"]
    status, opened = served.ask("api/redo?image=1&revision=2", b"")
    assert opened["document"]["phrases"][0]["text"] == "the red cup"
    assert served.ask("api/list")[1]["images"][1]["accepted"] == 1


def test_the_list_reads_only_files_that_have_changed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.ask("api/edit?image=0", EDIT)
    read: list[str] = []
    monkeypatch.setattr(store, "load_document", lambda path: (read.append(path.name), load_document(path))[1])
    for _ in range(2):
        assert served.ask("api/list")[1]["images"][0]["state"] == "done"
    assert read == ["a.png.json"]
    served.ask("api/undo?image=0&revision=1", b"")
    assert served.ask("api/list")[1]["images"][0]["state"] == "untouched" and len(read) == 2
    (served.folder / "a.png.json").unlink()
    assert served.ask("api/list")[1]["images"][0]["state"] == "untouched" and len(read) == 2


def test_sam_looks_at_the_picture_that_is_shown_and_at_the_next_ones(tmp_path: Path) -> None:
    seen: list[int] = []
    told = threading.Event()

    def prepare(pixels: UInt8) -> None:
        seen.append(int(pixels[0, 0, 1]))
        if len(seen) in (4, 6):
            told.set()

    root = put_images(tmp_path / "photos", *(f"{letter}.png" for letter in "abcdef"))
    clicker = Clicker("sam=x", lambda *_: [], prepare)
    served = Served(root, models=Models(clicker=clicker))
    assert served.ask("api/open?image=1")[0] == 200
    assert told.wait(10) and seen == [40, 80, 120, 160]  # greens of the second and three more
    told.clear()
    assert served.ask("api/open?image=2")[0] == 200
    assert told.wait(10) and seen[4:] == [80, 200]  # what was seen ahead is not looked at ahead again
    served.close()


def test_two_tabs(served: Served) -> None:
    assert served.ask("api/edit?image=0", EDIT)[0] == 200
    status, refusal = served.ask("api/edit?image=0", EDIT)
    assert status == 409 and "another tab" in refusal["error"]
    assert served.ask("api/undo?image=0&revision=0", b"")[0] == 409
    assert served.document().revision == 1


@pytest.mark.parametrize(
    ("place", "value", "status"),
    [
        ("api/edit?image=0", {"revision": 0, "change": {"phrases": {"p1": PHRASE}}}, 422),
        (
            "api/edit?image=0",
            {"revision": 0, "change": {"masks": {"m1": {"id": "m1", "rle": {**RLE, "counts": "x"}}}}},
            422,
        ),
        ("api/edit?image=0", {"revision": 0, "change": {"phrases": {"../x": {"id": "../x", "text": ""}}}}, 400),
        ("api/edit?image=0", b"{", 400),
        ("api/edit?image=0", b'{"revision": 0, "change": {"phrases": ' + b"[" * 2000, 400),
        ("api/suggest?image=0", {"tool": "alike", "places": [[1e308, 0]]}, 400),
        ("api/propose?image=0", {"phrases": ["it"] * 1000}, 422),  # a picture may have as many; there is no model here
        ("api/describe?image=0", b"", 422),
        ("api/edit?image=9", EDIT, 422),
        ("api/edit?image=-1", EDIT, 422),
        ("api/edit?image=../a", EDIT, 400),
        ("api/open?image=x", None, 400),
        ("api/image?image=7", None, 422),
        ("..%2f..%2fetc%2fpasswd", None, 404),
        ("server.py", None, 404),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(served: Served, place: str, value: object, status: int) -> None:
    assert served.ask(place, value)[0] == status
    assert not served.folder.exists()


def test_other_sites_are_turned_away(served: Served) -> None:
    assert served.ask("api/edit?image=0", EDIT, Origin="http://evil.example")[0] == 403
    assert served.ask("api/edit?image=0", EDIT, Host="evil.example")[0] == 421
    assert not served.folder.exists()


def test_a_damaged_file_and_a_damaged_picture_block_themselves_alone(tmp_path: Path) -> None:
    root = put_images(tmp_path / "photos", "a.png", "b.png", "c.png")
    (root / "b.png").write_bytes(b"no picture")
    (root / "annotations").mkdir()
    (root / "annotations/a.png.json").write_text("{")
    served = Served(root)
    rows = served.ask("api/list")[1]["images"]
    assert [row["state"] for row in rows] == ["damaged", "untouched", "untouched"]
    assert "a.png.json: damaged" in rows[0]["fault"]
    status, refusal = served.ask("api/open?image=0")
    assert status == 422 and "a.png.json: damaged" in refusal["error"]
    assert served.ask("api/edit?image=0", EDIT)[0] == 422 and (root / "annotations/a.png.json").read_text() == "{"
    assert "not a JPEG" in served.ask("api/open?image=1")[1]["error"]
    assert served.ask("api/edit?image=2", EDIT)[0] == 200
    served.close()


def test_pictures_are_shown_upright_and_as_a_model_sees_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tmp_path.joinpath("photos").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos/a.jpg", exif=exif)
    Image.new("I;16", (WIDTH, HEIGHT)).save(tmp_path / "photos/b.tif")
    Image.new("RGBA", (WIDTH, HEIGHT)).save(
        tmp_path / "photos/c.png"
    )  # a model sees the colours below what is transparent
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos/d.png")
    images = Images(tmp_path / "photos")
    assert (images.file(0).width, images.file(0).height) == (HEIGHT, WIDTH)
    kinds = [images.shown(number)[1] for number in range(4)]
    assert kinds == ["image/jpeg", "image/jpeg", "image/jpeg", "image/png"]


def test_names_that_no_file_can_hold_are_passed_over(tmp_path: Path) -> None:
    root = put_images(tmp_path, "a.png", "b\n.png", "c\\d.png", '<b>&".png', "é.png", ".hidden.png")
    images = Images(root)
    assert images.names == ['<b>&".png', "a.png", "é.png"] and images.skipped == ["b\n.png", "c\\d.png"]
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere"):
        with pytest.raises(UsageFault):
            Images(tmp_path / place)
    assert Images(root / "a.png").names == ["a.png"]
    with pytest.raises(UsageFault, match="could hold the name"):
        Images(root / "b\n.png")


def test_the_command(tmp_path: Path) -> None:
    root = put_images(tmp_path / "my photos", "a.png")
    command = [sys.executable, "-c", "from stamp_cli.data import main; main()", "annotate", str(root), "--by", "Ada"]
    first = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert first.stderr is not None
    timer = threading.Timer(30, first.kill)
    timer.start()
    assert first.stderr.readline().startswith("http://127.0.0.1:")
    assert f"build annotations --root '{root}' --out shards" in first.stderr.readline()
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and "another `annotate` is at work here" in second.stderr
    os.kill(first.pid, signal.SIGINT)
    assert first.wait(timeout=20) == 130
    timer.cancel()
    first.stderr.close()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--min-tokens", "2000"), 2, "2000 to 1280 merged patches"),
        (("--max-tokens", "1000000"), 2, "at most 16,384"),
        (("--factor", "0"), 2, "known: 28, 32"),
        (("--by", "x" * 201), 2, "201 characters"),
        (("--from", "nowhere"), 2, "nowhere does not exist"),
    ],
)
def test_what_the_command_cannot_do_is_said_before_a_page_is_served(
    options: tuple[str, ...], code: int, told: str, tmp_path: Path, stamp_data: Command
) -> None:
    done = stamp_data("annotate", put_images(tmp_path / "photos", "a.png"), *options, timeout=30)
    assert done.returncode == code and told in done.stderr and "http://" not in done.stderr


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"some text", "not a JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "not a JPEG"),
    ],
)
def test_one_picture_that_is_none_is_refused_at_once(data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(StampError, match=told):
        Images(tmp_path / "a.png")
    assert Images(tmp_path).names == ["a.png"]  # in a folder it blocks itself alone
