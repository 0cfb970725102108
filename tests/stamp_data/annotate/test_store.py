"""What is said of pictures, kept: nothing is lost, nothing overwritten, and all can be taken back."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp_data import rle
from stamp_data.annotate import journal
from stamp_data.annotate import store as store_module
from stamp_data.annotate.change import Change
from stamp_data.annotate.store import Conflict, Store, load_document
from stamp_schemas import StampError
from stamp_schemas.annotated import ANNOTATED_SCHEMA, AnnotatedImage, SaidPhrase

from .making import drawn, image, mask, said


def content(document: AnnotatedImage) -> object:
    """What a document says, whatever its revision, and whoever said it."""
    built = msgspec.to_builtins(document)
    for thing in (*built.get("phrases", ()), *built.get("masks", ())):
        thing.pop("made", None)
    return {
        key: sorted(value, key=lambda one: one["id"]) for key, value in built.items() if key in ("phrases", "masks")
    }


def test_a_change_is_a_file_and_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "out", "Ada")
    opened = store.change(image("sub/a.jpg"), 0, drawn())
    assert opened.document.revision == 1
    again = Store(tmp_path / "out").open(image("sub/a.jpg")).document
    assert again == opened.document == load_document(tmp_path / "out/sub/a.jpg.json")
    made = again.phrases[0].made
    assert made.by == "Ada" and made.at.endswith("Z") and made.tool.startswith("stamp-seg ")
    assert json.loads((tmp_path / "out/sub/a.jpg.json").read_text())["schema"] == "stamp.annotations/1"


def test_seconds_of_work_add_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for revision, seconds in enumerate((2.0, 3.5)):
        phrase = msgspec.structs.replace(said(masks=()), made=msgspec.structs.replace(said().made, seconds=seconds))
        store.change(image(), revision, Change({"p1": phrase}))
    assert store.open(image()).document.phrases[0].made.seconds == 5.5


def test_who_saw_an_older_revision_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.change(image(), 0, drawn())
    before = (tmp_path / "a.jpg.json").read_bytes()
    with pytest.raises(Conflict, match="another tab") as caught:
        store.change(image(), 0, Change({"p1": None}))
    assert caught.value.document.phrases[0].text == "the red cup"
    assert (tmp_path / "a.jpg.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: Change({"p1": said()}), "names mask m1, which is not there"),
        (lambda: Change({"p1": said(masks=(), status="accepted")}), "without masks"),
        (lambda: Change({"p1": said(text=" ", masks=(), nothing="absent", status="accepted")}), "without a text"),
        (lambda: Change({"p1": said(nothing="absent")}, {"m1": mask()}), "names masks, and nothing"),
        (lambda: Change({"p1": said(masks=("m1", "m1"))}, {"m1": mask()}), "twice"),
        (lambda: Change({"p2": said(masks=())}), "is called p1"),
        (lambda: Change({"p1": SaidPhrase("../x", "it")}), "is called"),
        (lambda: Change({"../x": SaidPhrase("../x", "it")}), "regex"),
        (lambda: Change({"p1": SaidPhrase("p1", "x" * 2001)}), "2000"),
        (lambda: Change({}, {"m1": msgspec.structs.replace(mask(), rle=rle.RLE((2, 2), "4"))}), "the picture has 64×48"),
        (lambda: Change({}, {"m1": msgspec.structs.replace(mask(), rle=rle.RLE((48, 64), "1"))}), "covers 1 pixels"),
    ],
)  # fmt: skip
def test_what_does_not_hold_together_is_refused(change: Callable[[], Change], told: str, tmp_path: Path) -> None:
    with pytest.raises((StampError, ValueError), match=told):
        Store(tmp_path).change(image(), 0, change())
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_blocks_its_own_picture_and_is_named(tmp_path: Path) -> None:
    Store(tmp_path).change(image("a.jpg"), 0, drawn())
    Store(tmp_path).change(image("b.jpg"), 0, drawn())
    (tmp_path / "a.jpg.json").write_bytes((tmp_path / "a.jpg.json").read_bytes()[:100])
    store = Store(tmp_path)
    with pytest.raises(StampError, match=r"a\.jpg\.json: damaged"):
        store.open(image("a.jpg"))
    with pytest.raises(StampError, match=r"a\.jpg\.json: damaged"):
        store.peek("a.jpg")
    assert store.open(image("b.jpg")).document.phrases
    with pytest.raises(StampError, match=r"64×48 pixels; it has 65×48 now"):
        store.open(msgspec.structs.replace(image("b.jpg"), width=65))


def test_a_line_that_was_not_written_to_its_end_is_dropped(tmp_path: Path) -> None:
    Store(tmp_path).change(image(), 0, drawn())
    Store(tmp_path).change(image(), 1, Change({"p2": said("p2", "left")}))
    lines = tmp_path / ".journal/a.jpg.jsonl"
    lines.write_bytes(lines.read_bytes() + lines.read_bytes()[:77])
    store = Store(tmp_path)
    assert store.undo(image(), 2).document.revision == 3
    assert [phrase.id for phrase in store.open(image()).document.phrases] == ["p1"]


def test_what_the_journal_alone_knows_is_done_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.change(image(), 0, Change({"p1": said(masks=())}))
    older = (tmp_path / "a.jpg.json").read_bytes()
    newest = store.change(image(), 1, drawn()).document
    (tmp_path / "a.jpg.json").write_bytes(older)  # killed between the line and the file
    assert Store(tmp_path).open(image()).document == newest == load_document(tmp_path / "a.jpg.json")
    (tmp_path / "a.jpg.json").unlink()
    assert Store(tmp_path).open(image()).document == newest


def test_a_file_that_was_changed_by_hand_stands(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.change(image(), 0, drawn())
    document = load_document(tmp_path / "a.jpg.json")
    by_hand = msgspec.structs.replace(document, revision=9, phrases=[said(text="by hand")])
    (tmp_path / "a.jpg.json").write_bytes(msgspec.json.encode(by_hand))
    assert store.open(image()).document == by_hand
    assert store.undo(image(), 9).document == by_hand  # the journal is of another document
    assert (tmp_path / ".journal/a.jpg.jsonl.old").exists()


def test_a_long_journal_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST", 20)
    monkeypatch.setattr(journal, "KEPT", 5)
    store = Store(tmp_path)
    for revision in range(21):
        store.change(image(), revision, Change({"p1": said(text=str(revision), masks=())}))
    store = Store(tmp_path)
    for back in range(7):
        document = store.undo(image(), store.open(image()).document.revision).document
        assert document.phrases[0].text == str(max(20 - back - 1, 15))
    assert len((tmp_path / ".journal/a.jpg.jsonl").read_bytes().splitlines()) == 5 + 5


def test_names_of_any_length_and_kind(tmp_path: Path) -> None:
    for name in ("x" * 250 + ".jpg", "ü" * 120 + ".jpg", "<b>&'\".jpg", "a.jpg.json.jpg"):
        store = Store(tmp_path)
        store.change(image(name), 0, drawn())
        assert Store(tmp_path).open(image(name)).document.image.path == name


actions = st.lists(
    st.one_of(
        st.tuples(st.just("undo")),
        st.tuples(st.just("redo")),
        st.tuples(st.just("again")),
        st.tuples(st.just("mask"), st.sampled_from("xyz"), st.integers(1, 40)),
        st.tuples(st.just("phrase"), st.sampled_from("pqr"), st.sampled_from(["it", "left one", "<|seg|>"])),
        st.tuples(st.just("drop"), st.sampled_from("pqr")),
    ),
    max_size=25,
)


@given(actions)
@settings(max_examples=40, deadline=None)
def test_undo_and_redo_also_across_sessions(
    tmp_path_factory: pytest.TempPathFactory, todo: list[tuple[str, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("property")
    store, states, place = Store(folder), [content(AnnotatedImage(ANNOTATED_SCHEMA, image()))], 0
    for kind, *told in todo:
        revision = store.open(image()).document.revision
        if kind == "again":
            store = Store(folder)
        elif kind == "undo":
            store.undo(image(), revision)
            place = max(place - 1, 0)
        elif kind == "redo":
            store.redo(image(), revision)
            place = min(place + 1, len(states) - 1)
        else:
            change = {
                "mask": lambda name, side="": Change({}, {name: mask(name, (0, 0, int(side), 9))}),
                "phrase": lambda name, text="": Change({name: said(name, text, ())}),
                "drop": lambda name: Change({name: None}),
            }[kind](*told)
            document = store.change(image(), revision, change).document
            states, place = [*states[: place + 1], content(document)], place + 1
        assert content(store.open(image()).document) == states[place]
        if (folder / "a.jpg.json").exists():
            assert content(load_document(folder / "a.jpg.json")) == states[place]


ACCEPTING = """
import sys
from collections.abc import Callable
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.store import Store
from stamp_schemas.annotated import ImageFile, SaidPhrase
store, image = Store(Path(sys.argv[1])), ImageFile("a.jpg", 64, 48)
revision = store.open(image).document.revision
while True:
    name = f"p{revision}"
    change = Change({name: SaidPhrase(name, f"phrase {revision}", [], "absent", "accepted")})
    revision = store.change(image, revision, change).document.revision
    print(revision, flush=True)
"""


def test_kill_9_between_accepts_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    answered = 0
    for more in (3, 1, 20, 7):
        running = subprocess.Popen(
            [sys.executable, "-c", ACCEPTING, str(tmp_path), str(Path.cwd())], stdout=subprocess.PIPE, text=True
        )
        assert running.stdout is not None
        for _ in range(more):
            answered = int(running.stdout.readline())
        os.kill(running.pid, signal.SIGKILL)
        answered = max([answered, *map(int, running.communicate()[0].split())])
        document = Store(tmp_path).open(image()).document
        assert document.revision in (answered, answered + 1)  # what was under way may be there, as a whole
        assert [phrase.id for phrase in document.phrases] == [f"p{number}" for number in range(document.revision)]
        assert load_document(tmp_path / "a.jpg.json") == document


def test_what_is_accepted_is_on_the_disk_with_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(journal, "sync", synced.append)
    store = Store(tmp_path)
    store.change(image("sub/a.jpg"), 0, Change({"p1": said(masks=())}))
    assert not synced
    store.change(image("sub/a.jpg"), 1, drawn())
    assert synced == [tmp_path / ".journal/sub", tmp_path / ".journal", tmp_path]


def test_a_line_that_is_not_surely_on_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "input/output error", str(path))

    store = Store(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(journal, "sync", fail)
        with pytest.raises(StampError, match="nothing was saved"):
            store.change(image(), 0, drawn())
    store.change(image(), 0, Change({"p2": said("p2", masks=())}))
    (tmp_path / "a.jpg.json").unlink()
    assert [phrase.id for phrase in Store(tmp_path).open(image()).document.phrases] == ["p2"]


def test_a_file_that_could_not_be_written_is_made_when_the_picture_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "no space left", str(path))

    store = Store(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "write_atomic", fail)
        with pytest.raises(StampError, match="saved in the journal alone"):
            store.change(image(), 0, drawn())
    assert store.open(image()).document == load_document(tmp_path / "a.jpg.json")


def test_pictures_that_were_left_long_ago_take_no_memory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = weakref.ref(store.open(image()))
    for number in range(20):
        store.open(image(f"{number}.jpg"))
    gc.collect()
    assert first() is None


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StampError, match="nothing was saved"):
        Store(tmp_path / "out").change(image(), 0, drawn())


@pytest.mark.parametrize("place", ["a.jpg.json", ".journal/a.jpg.jsonl", ".journal", "sub", ".journal/sub"])
def test_links_that_lead_out_are_not_followed(place: str, tmp_path: Path) -> None:
    """A folder that somebody sent may hold them; what they lead to is neither read nor written."""
    outside, folder = tmp_path / "outside", tmp_path / "out"
    name = "sub/a.jpg" if "sub" in place else "a.jpg"
    link = folder / place
    link.parent.mkdir(parents=True)
    if link.suffix:
        outside.write_text("mine\n")
    else:
        outside.mkdir()
    link.symlink_to(outside)
    for store in (Store(folder), Store(folder)):
        with pytest.raises(StampError, match="a link that leads out of the folder"):
            store.change(image(name), 0, drawn())
    assert (outside.read_text() == "mine\n") if link.suffix else not [*outside.iterdir()]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large disk")
    Store(tmp_path / "out").change(image(), 0, drawn())
    assert (tmp_path / "large disk/a.jpg.json").is_file()
