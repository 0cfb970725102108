"""What a review changed, as a patch, and what a build makes of it: those records, and not a byte of any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from msgspec.structs import replace

from stamp_data import rle
from stamp_data.annotate.begin import begin_from
from stamp_data.annotate.change import Change
from stamp_data.annotate.images import Images
from stamp_data.annotate.review import write_patch
from stamp_data.annotate.server import open_server
from stamp_data.annotate.store import Store
from stamp_data.build.jobs import Job, run_job
from stamp_data.build.receipt import Receipt, Workplace
from stamp_data.executors.local import LocalExecutor
from stamp_data.patches import read_patches
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.verify import verify_set
from stamp_schemas import StampError
from stamp_schemas.annotated import AnnotatedImage, DrawnMask, SaidPhrase

from ...browsing import Running
from ..raw import FAST, FAST_OPTIONS, PICTURES, Command, Raw, build, one_line, picture, read_set, reasons, tree
from .making import box
from .serving import Watched

IMAGES, RECORDS = 8, 2
SET = "refcoco-unc/train"
Said = Callable[[AnnotatedImage, str], SaidPhrase]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two references of each picture, one of two sentences; EXIF turns every third picture."""
    raw = Raw(tmp_path / "data")
    for number in range(1, IMAGES + 1):
        exif = {"exif": _turned()} if number % 3 == 0 else {}
        raw.image(number, picture(shade=20 * number, mode="L", **exif))
        raw.ref(number, f"the thing {number}", "The grey one")
        raw.ref(number, "a corner", segmentation=[[0.0, 0.0, 20.0, 0.0, 0.0, 20.0]])
    return raw.save()


def _turned() -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.fixture
def shards(root: Path, tmp_path: Path) -> Path:
    build(root, tmp_path / "shards", shard_records=RECORDS)
    return tmp_path / "shards"


class Review:
    """Annotations that were begun from a set, changed by the words of phrases."""

    def __init__(self, root: Path, shards: Path, folder: Path) -> None:
        self.images, self.store, self.folder = Images(root / PICTURES), Store(folder, "Ada"), folder
        begin_from([str(shards)], self.images, self.store)

    def document(self, number: int) -> AnnotatedImage:
        return self.store.open(self.images.file(number - 1)).document

    def phrase(self, number: int, text: str) -> SaidPhrase:
        return next(one for one in self.document(number).phrases if one.text == text)

    def change(self, number: int, *phrases: SaidPhrase, masks: dict[str, DrawnMask | None] | None = None) -> None:
        there = {one.id: one for one in phrases}
        document = self.document(number)
        self.store.change(document.image, document.revision, Change({**there}, masks or {}))

    def accept(self, number: int, text: str, /, **now: Any) -> None:
        self.change(number, replace(self.phrase(number, text), status="accepted", **now))

    def remove(self, number: int, text: str) -> None:
        document = self.document(number)
        self.store.change(document.image, document.revision, Change({self.phrase(number, text).id: None}))

    def redraw(self, number: int, text: str, pixels: np.ndarray) -> None:
        """Another mask, and all phrases that name it accepted."""
        (name,) = self.phrase(number, text).masks
        document = self.document(number)
        mask = next(one for one in document.masks if one.id == name)
        said = [replace(one, status="accepted") for one in document.phrases if name in one.masks]
        self.change(number, *said, masks={name: replace(mask, rle=rle.encode(pixels))})


@pytest.fixture
def review(root: Path, shards: Path, tmp_path: Path) -> Review:
    return Review(root, shards, tmp_path / "annotations")


def records(folder: Path) -> dict[int, Loaded]:
    with ShardSet(folder) as shards:
        return {int(loaded.record.source.image_id): loaded for loaded in shards}


def said(loaded: Loaded) -> dict[str, np.ndarray]:
    """The masks of a record by the words that ask for them; all are single ones."""
    found = {one.expression: loaded.record.targets[one.targets[0]].rle for one in loaded.record.dialogues}
    return {text: rle.decode(mask).astype(bool) for text, mask in found.items()}


def key(number: int) -> str:
    return f"refcoco-unc-train-{number:012d}"


def upright(number: int) -> np.ndarray:
    """Some mask of an upright picture, not symmetric in any way."""
    width, height = (48, 64) if number % 3 == 0 else (64, 48)
    pixels = np.zeros((height, width), np.uint8)
    pixels[3:17, 5:30] = 1
    pixels[17:21, 5:9] = 1
    return pixels


def change_all(review: Review) -> None:
    """A change of each kind: pictures 2 to 7; 1 is accepted as it is, 8 is not looked at."""
    review.accept(1, "the thing 1")
    for number in (2, 3):
        review.redraw(number, f"the thing {number}", upright(number))
    review.accept(4, "a corner", text="the left corner?")
    review.remove(5, "The grey one")
    review.accept(6, "a corner", masks=[], nothing="absent")
    new = DrawnMask("m9", box(50, 30, 60, 40), categories=["thing"])
    review.change(
        7,
        SaidPhrase("p9", "something new", ["m9"], status="accepted"),
        SaidPhrase("p10", "a cow", nothing="absent", status="accepted"),
        replace(review.phrase(7, "a corner"), masks=["m9", *review.phrase(7, "a corner").masks], status="accepted"),
        masks={"m9": new},
    )


def test_a_patch_changes_its_records_and_nothing_else(
    review: Review, root: Path, shards: Path, tmp_path: Path, stamp_data: Command
) -> None:
    change_all(review)
    patch = tmp_path / "fixes.jsonl"
    told = stamp_data("annotate", "patch", review.folder, "--out", patch)
    assert told.returncode == 0, told.stderr
    assert f"6 records of {SET}: 2 masks changed, 2 masks added" in told.stdout
    lines = [json.loads(line) for line in patch.read_text().splitlines()]
    assert [line["record"] for line in lines] == [key(number) for number in range(2, 8)]
    command = ("build", "refcoco", "--root", root, "--shard-records", RECORDS, *FAST_OPTIONS, "--patch", patch)
    done = stamp_data(*command, "--out", tmp_path / "patched", "--workers", 2)
    assert done.returncode == 0, done.stderr
    before, after = records(shards / SET), records(tmp_path / "patched" / SET)
    for number in (1, 8):
        assert after[number] == replace_row(before[number], after[number])
    for number in range(2, 8):
        assert after[number].image == before[number].image
    corner = said(before[2])["a corner"]
    for number in (2, 3):
        mask = upright(number).astype(bool)
        expected = np.rot90(mask) if number == 3 else mask
        found = said(after[number])
        assert np.array_equal(found[f"the thing {number}"], expected) and np.array_equal(
            found["The grey one"], expected
        )
        assert np.array_equal(found["a corner"], corner)
    assert said(after[4]).keys() == {"the thing 4", "The grey one", "the left corner?"}
    assert np.array_equal(said(after[4])["the left corner?"], corner)
    assert said(after[5]).keys() == {"the thing 5", "a corner"}
    assert not said(after[6])["a corner"].any() and said(after[6])["the thing 6"].any()
    seven = said(after[7])
    drawn = rle.decode(box(50, 30, 60, 40)).astype(bool)
    assert np.array_equal(seven["something new"], drawn) and not seven["a cow"].any()
    assert np.array_equal(seven["a corner"], corner | drawn)
    same = {one.id: one for one in before[4].record.dialogues}
    assert [one for one in after[4].record.dialogues if one.id in same and one.expression != "the left corner?"] == [
        one for one in before[4].record.dialogues if one.expression != "a corner"
    ]
    manifest = json.loads((tmp_path / "patched" / SET / "manifest.json").read_text())
    assert [(one["path"], one["bytes"]) for one in manifest["patches"]] == [("fixes.jsonl", patch.stat().st_size)]
    assert not (tmp_path / "patched" / SET / "rejects.jsonl").read_text()
    assert stamp_data("verify", tmp_path / "patched").returncode == 0
    assert stamp_data(*command, "--out", shards, "--overwrite").returncode == 0, "what was built without is patched"
    assert tree(shards) == tree(tmp_path / "patched")
    again = stamp_data(*command[:-2], "--out", shards)
    assert again.returncode == 1 and "patched with fixes.jsonl, now with none" in one_line(again.stderr)


def replace_row(loaded: Loaded, other: Loaded) -> Loaded:
    """The record where `other` lies: places in a shard move with what stands before."""
    from dataclasses import replace as with_other

    assert np.array_equal(loaded.labels, other.labels)
    return with_other(loaded, row=other.row, labels=other.labels)


def test_only_shards_with_changed_records_are_made_anew(
    review: Review, root: Path, shards: Path, tmp_path: Path
) -> None:
    review.accept(4, "a corner", text="the corner")
    write_patch(review.folder, tmp_path / "fixes.jsonl")
    before = tree(shards / SET)
    (built,) = build(root, shards, shard_records=RECORDS, patches=(tmp_path / "fixes.jsonl",), overwrite=True)
    after = tree(shards / SET)
    assert built.rendered == 1
    assert sum(before[name] != after[name] for name in before if name.endswith(".tar")) == 1
    fresh = tmp_path / "fresh"
    build(root, fresh, shard_records=RECORDS, patches=(tmp_path / "fixes.jsonl",))
    assert tree(fresh / SET) == after
    (again,) = build(root, fresh, shard_records=RECORDS, patches=(tmp_path / "fixes.jsonl",))
    assert again.rendered == 0, "it is there already"


class Stopping(LocalExecutor):
    """Is interrupted after its first shard."""

    def run(self, paths: Sequence[Path], place: Workplace) -> Iterator[Receipt]:
        yield from super().run(paths[:1], place)
        raise KeyboardInterrupt


def test_a_stopped_build_goes_on_with_its_patch_alone(review: Review, root: Path, tmp_path: Path) -> None:
    change_all(review)
    patch, out = tmp_path / "fixes.jsonl", tmp_path / "out"
    write_patch(review.folder, patch)
    job = Job(("refcoco",), root, out, **FAST, shard_records=RECORDS, patches=(patch,))
    executor = Stopping(1)
    with pytest.raises(KeyboardInterrupt):
        list(run_job(job, executor, lambda *_: None))
    executor.close()
    with pytest.raises(StampError, match=r"patched with fixes.jsonl, now with none"):
        build(root, out, shard_records=RECORDS)
    (built,) = build(root, out, shard_records=RECORDS, patches=(patch,), workers=2)
    assert built.rendered == IMAGES // RECORDS - 1
    build(root, tmp_path / "fresh", shard_records=RECORDS, patches=(patch,))
    assert tree(out) == tree(tmp_path / "fresh")


def test_passes_seeds_and_rounds_are_no_concern_of_a_patch(review: Review, root: Path, tmp_path: Path) -> None:
    change_all(review)
    write_patch(review.folder, tmp_path / "fixes.jsonl")
    for name, more in (("passes", {"passes": 2, "seed": 3, "min_tokens": 9}), ("rounds", {"rounds": 3, "passes": 2})):
        (built,) = build(root, tmp_path / name, patches=(tmp_path / "fixes.jsonl",), **more)
        assert not built.manifest.totals.rejects and not verify_set(built.folder)
        four = records(built.folder)[4].record
        assert {text for one in four.dialogues for text in one.expressions} == {
            "the thing 4", "The grey one", "the left corner?",
        }  # fmt: skip


def test_what_no_longer_fits_is_named_and_nothing_else_touched(
    review: Review, root: Path, shards: Path, tmp_path: Path
) -> None:
    change_all(review)
    patch = tmp_path / "fixes.jsonl"
    write_patch(review.folder, patch)
    lines = [json.loads(line) for line in patch.read_text().splitlines()]
    two, _, four, _, _, seven = lines
    other = "0" * 32
    two["targets"][0]["was"] = other
    four["phrases"][0]["was"] = other
    seven["targets"][0]["rle"]["counts"] = "nonsense"
    more = [
        {**lines[1], "record": "refcoco-unc-train-nobody"},
        {**lines[1], "phrases": [{"id": "7777", "was": other, "text": "it"}], "targets": []},
        {**lines[1], "record": key(1), "phrases": [{"id": "new", "text": "it", "targets": ["nowhere"]}], "targets": []},
        {**lines[1], "record": key(8), "phrases": [{"id": "new", "text": "<|seg|>"}], "targets": []},
        {**lines[1], "record": key(8), "ignore": {"was": other}, "targets": []},
        {**lines[1], "set": "refcoco-unc/val"},
    ]
    patch.write_text("\n".join(json.dumps(line) for line in [*lines, *more]))
    (built,) = build(root, tmp_path / "patched", shard_records=RECORDS, patches=(patch,))
    _, rows = read_set(built.folder)
    assert {(row.file, row.reason) for row in rows} == {("fixes.jsonl", "patch-misfit")}
    assert sorted(row.record for row in rows) == sorted(
        [key(2), key(4), key(7), "refcoco-unc-train-nobody", key(3), key(1), key(8), key(8)]
    )
    before, after = records(shards / SET), records(built.folder)
    for number in (1, 2, 4, 7, 8):
        assert after[number] == replace_row(before[number], after[number])
    for number in (3, 5, 6):
        assert after[number].record != before[number].record, "those that fit are done"
    assert not verify_set(built.folder)


def test_a_second_review_goes_on_from_the_first(review: Review, root: Path, tmp_path: Path) -> None:
    review.accept(4, "a corner", text="the left corner")
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    write_patch(review.folder, first)
    build(root, tmp_path / "once", patches=(first,))
    again = Review(root, tmp_path / "once", tmp_path / "again")
    again.accept(4, "the left corner", text="the upper left corner")
    write_patch(again.folder, second)
    (built,) = build(root, tmp_path / "twice", patches=(first, second))
    assert "the upper left corner" in said(records(built.folder)[4])
    assert [one.path for one in built.manifest.patches] == ["first.jsonl", "second.jsonl"]
    (other,) = build(root, tmp_path / "order", patches=(second, first))
    assert other.manifest.totals.rejects == 1 and "the left corner" in said(records(other.folder)[4])


def test_what_is_ignored_is_changed_too(root: Path, tmp_path: Path) -> None:
    review = Review(root, _ignoring(root, tmp_path), tmp_path / "annotations")
    document = review.document(1)
    mask = next(one for one in document.masks if one.role == "ignore")
    review.change(1, masks={mask.id: replace(mask, rle=box(0, 0, 64, 4))})
    found = write_patch(review.folder, tmp_path / "fixes.jsonl")
    assert [bool(one.ignore) for one in found.patches] == [True]
    (built,) = build(tmp_path / "own.json", tmp_path / "patched", "coco", patches=(tmp_path / "fixes.jsonl",))
    (one,), rows = read_set(built.folder)
    assert reasons(rows) == ["crowd-ignored"] and not verify_set(built.folder)
    info = one.record.targets[0]
    assert info.ignore_rle is not None and np.array_equal(rle.decode(info.ignore_rle), rle.decode(box(0, 0, 64, 4)))
    assert info.area == 32 * 24


def _ignoring(root: Path, tmp_path: Path) -> Path:
    """A set of one picture in which something is to be ignored."""
    name = f"{PICTURES}/COCO_train2014_000000000001.jpg"
    area = {"iscrowd": 1, "segmentation": {"size": [48, 64], "counts": rle.encode(_strip()).counts}}
    content = {
        "images": [{"id": 1, "file_name": str(root / name), "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[8, 8, 40, 8, 40, 32, 8, 32]]},
            {"id": 2, "image_id": 1, "category_id": 1, **area},
        ],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "own.json").write_text(json.dumps(content).replace(f"{root}/", "data/"))
    build(tmp_path / "own.json", tmp_path / "ignoring", "coco")
    return tmp_path / "ignoring"


def _strip() -> np.ndarray:
    pixels = np.zeros((48, 64), np.uint8)
    pixels[40:] = 1
    return pixels


def test_changes_that_nobody_accepted_are_left_out(review: Review, tmp_path: Path, stamp_data: Command) -> None:
    review.change(2, replace(review.phrase(2, "a corner"), text="half wr", status="new"))
    review.change(4, SaidPhrase("p9", "half written"))
    told = stamp_data("annotate", "patch", review.folder, "--out", tmp_path / "fixes.jsonl")
    assert told.returncode == 1 and "nobody has accepted what is changed of 2 pictures, as of" in one_line(told.stderr)
    assert not (tmp_path / "fixes.jsonl").exists()
    review.accept(3, "a corner", text="the corner")
    told = stamp_data("annotate", "patch", review.folder, "--out", tmp_path / "fixes.jsonl", "--json")
    held = json.loads(told.stdout)
    assert held["records"] == {SET: 1} and len(held["open"]) == 2
    document = review.document(3)
    review.store.undo(document.image, document.revision)
    review.store.undo(document.image, document.revision + 1)
    assert review.document(3).reviewed is None, "it was not begun"
    with pytest.raises(StampError, match="nobody has accepted what is changed of 2"):
        write_patch(review.folder, tmp_path / "none.jsonl")


def test_a_damaged_set_is_repaired_with_its_patch(
    review: Review, root: Path, tmp_path: Path, stamp_data: Command
) -> None:
    change_all(review)
    patch, out = tmp_path / "fixes.jsonl", tmp_path / "patched"
    write_patch(review.folder, patch)
    build(root, out, shard_records=RECORDS, patches=(patch,))
    whole = tree(out)
    shard = out / SET / "shard-000001.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    told = stamp_data("verify", out)
    assert told.returncode == 1 and "--patch FILE" in told.stderr
    without = stamp_data("verify", out, "--repair", "--root", root)
    assert without.returncode == 2 and "--patch fixes.jsonl" in without.stderr
    assert stamp_data("verify", out, "--repair", "--root", root, "--patch", patch).returncode == 0
    assert tree(out) == whole


def test_bad_files_are_refused_by_name(root: Path, tmp_path: Path, stamp_data: Command) -> None:
    bad = tmp_path / "bad.jsonl"
    line = {"schema": "stamp.patch/1", "set": "reason_seg/val", "record": "r", "phrases": [{"id": "1", "text": "it"}]}
    for text, words in (
        ("", "holds no change"),
        ("{", "line 1 is no change of a record"),
        (json.dumps({**line, "schema": "stamp.patch/2"}), "line 1"),
        (json.dumps({**line, "phrases": [{"id": "1"}]}), "neither is new nor was there"),
        (json.dumps({**line, "phrases": line["phrases"] * 2}), "of the same id"),
        (json.dumps(line), "nothing of that was built"),
    ):
        bad.write_text(text)
        done = stamp_data("build", "refcoco", "--root", root, "--out", tmp_path / "out", *FAST_OPTIONS, "--patch", bad)
        assert done.returncode in (1, 2) and words in one_line(done.stderr), text
    gone = stamp_data("build", "refcoco", "--root", root, "--out", tmp_path / "out", "--patch", tmp_path / "gone")
    assert gone.returncode == 1 and "No such file" in one_line(gone.stderr)
    for wrong in (("patch",), ("patch", tmp_path), ("patch", tmp_path / "nowhere", "--out", bad)):
        assert stamp_data("annotate", *wrong).returncode == 2


def test_the_example_of_the_page_is_one(tmp_path: Path) -> None:
    """Its digests are those of the rule that stands below it, of the box and the words that they are said to be of."""
    page = (Path(__file__).parents[3] / "docs/annotate.md").read_text(encoding="utf-8")
    found = page[page.index('{"schema": "stamp.patch/1"') :]
    held = json.loads(found[: found.index("```")])
    (tmp_path / "example.jsonl").write_text(json.dumps(held))
    ((one,),) = (patch.records.values() for patch in read_patches([tmp_path / "example.jsonl"])["refcoco-unc/val"])
    first, second = one[0].patch.targets
    assert np.array_equal(rle.decode(first.rle), rle.decode(box(8, 8, 40, 33)))
    assert np.array_equal(rle.decode(second.rle), rle.decode(box(50, 30, 60, 40)))
    counts = rle.encode(rle.decode(box(8, 8, 40, 32))).counts
    was = blake3(f"48 64 {counts}".encode()).hexdigest()[:32]
    assert first.was == was
    assert one[0].patch.phrases[0].was == blake3(f"{was}\nthe cup".encode()).hexdigest()[:32]


@pytest.mark.browser
def test_the_page_writes_the_same_patch(chromium: Any, review: Review, tmp_path: Path) -> None:
    served = Running(open_server(review.images, review.store))
    watched = Watched(chromium, served.address)
    told = "document.querySelector('#toast').textContent"
    watched.keys("E")
    watched.wait(f"{told}.includes('nothing was changed of 8 pictures')")
    review.accept(3, "a corner", text="the corner")
    review.accept(4, "a corner", text="the left corner")
    review.change(2, replace(review.phrase(2, "a corner"), text="half wr", status="new"))
    watched.keys("E")
    watched.wait(f"{told}.includes('2 records are changed')")
    file = review.folder / "patch.jsonl"
    assert str(file) in watched.page.inner_text("#toast") and "Left out" in watched.page.inner_text("#toast")
    assert write_patch(review.folder, tmp_path / "fixes.jsonl").open
    assert file.read_bytes() == (tmp_path / "fixes.jsonl").read_bytes()
    for number in (3, 4):
        document = review.document(number)
        review.store.undo(document.image, document.revision)
    watched.keys("E")
    watched.wait(f"{told}.includes('nobody has accepted what is changed of 1 pictures')")
    assert not file.exists()  # an older one would say what is no longer so
    watched.complaints.clear()  # the browser notes the 422
    watched.close()
    served.close()
