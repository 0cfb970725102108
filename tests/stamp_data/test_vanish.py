"""Pictures that come, go, change or cannot be read while a set is built: nothing is made of them, and a mend heals."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stamp_cli.expected import expected
from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.sources import open_source
from stamp_data.verify import repair, verify_set
from stamp_schemas import StampError

from .raw import FAST, FAST_OPTIONS, PICTURES, Command, Raw, build, picture, plain_set, read_set, reasons, tree

IMAGES, RECORDS = 12, 4
SET = "refcoco-unc/train"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plain_set(tmp_path / "data", IMAGES, refused=5)


def disturbed(root: Path, out: Path, disturb: Callable[[], object], workers: int = 1, **options: Any) -> None:
    """Build, and do something to the pictures once all is planned and nothing is rendered."""
    executor = LocalExecutor(workers)
    job = Job(("refcoco",), root, out, **{**FAST, "shard_records": RECORDS, **options})

    def progress(done: int, _total: int, what: str) -> None:
        if what.endswith("building") and not done:
            disturb()

    try:
        list(run_job(job, executor, progress))
    finally:
        executor.close()


def age(root: Path, out: Path) -> None:
    """Pictures of twenty seconds ago, and a set of ten: clocks of file systems are coarse."""
    for folder, seconds in ((root, 20), (out, 10)):
        then = time.time_ns() - seconds * 10**9
        for path in folder.rglob("*"):
            os.utime(path, ns=(then, then))


def heals(root: Path, out: Path, tmp_path: Path) -> None:
    """The same command gives the bytes of an undisturbed build, and so do --overwrite and a repair after it."""
    fresh = tmp_path / "fresh"
    build(root, fresh, shard_records=RECORDS)
    build(root, out, shard_records=RECORDS)
    assert tree(out) == tree(fresh)
    (again,) = build(root, out, shard_records=RECORDS, overwrite=True)
    assert tree(out) == tree(fresh)
    assert again.rendered == 0
    assert verify_set(out / SET) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_pictures_that_go_away_stop_the_build_and_nothing_is_sealed(root: Path, tmp_path: Path, workers: int) -> None:
    out, pictures, away = tmp_path / "out", root / PICTURES, tmp_path / "away"
    with pytest.raises(StampError, match="is gone since the build began") as fault:
        disturbed(root, out, lambda: pictures.rename(away), workers)
    assert "same command again" in fault.value.hint
    assert not list(out.rglob("manifest.json")) and not list(out.rglob("rejects.jsonl"))
    away.rename(pictures)
    heals(root, out, tmp_path)


@pytest.mark.parametrize("change", ["longer", "gone", "came"])
def test_one_picture_that_changes_stops_the_build(root: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    path = root / PICTURES / "COCO_train2014_000000000003.jpg"
    data = path.read_bytes()
    if change == "came":
        path.unlink()
    does = {
        "longer": lambda: path.write_bytes(data + b"\0"),
        "gone": path.unlink,
        "came": lambda: path.write_bytes(data),
    }
    says = {"longer": "has changed", "gone": "is gone", "came": "has come"}
    with pytest.raises(StampError, match=f"{path.name}: {says[change]}"):
        disturbed(root, out, does[change])
    assert not list(out.rglob("manifest.json"))
    path.write_bytes(data)
    heals(root, out, tmp_path)


NUMBERS = [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM, errno.EACCES]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("call", ["open", "stat"])
def test_what_the_system_cannot_read_stops_the_build(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    """Opening a picture while it is rendered, or looking at it while the plan is made."""
    out = tmp_path / "out"

    def fails(path: object, *_more: object, **_options: object) -> object:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        if call == "open":
            patched.setattr("stamp_data.picture.open", fails, raising=False)
        else:
            patched.setattr("stamp_data.build.plan.stamp", fails)
        with pytest.raises(OSError, match=r"train2014.*\.jpg") as raised:
            build(root, out, shard_records=RECORDS)
    told = expected(raised.value)
    assert told is not None and told.hint and os.strerror(number) in told.message
    assert not list(out.rglob("manifest.json"))
    heals(root, out, tmp_path)


def test_want_of_memory_stops_the_build(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    def fails(*_arguments: object, **_options: object) -> object:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("stamp_data.picture.Image.open", fails)
        with pytest.raises(MemoryError):
            build(root, out, shard_records=RECORDS)
    assert not list(out.rglob("manifest.json"))
    heals(root, out, tmp_path)


def test_on_the_command_line_it_is_one_line(root: Path, tmp_path: Path, stamp_data: Command) -> None:
    pictures = root / PICTURES
    (pictures / "COCO_train2014_000000000003.jpg").unlink()
    (pictures / "COCO_train2014_000000000003.jpg").symlink_to(pictures / "COCO_train2014_000000000003.jpg")
    call = ("build", "refcoco", "-r", root, "-o", tmp_path / "out", *FAST_OPTIONS, "-w", 1)
    done = stamp_data(*call)
    assert done.returncode == 0, "a name that leads in a circle is no picture, and never was one"
    if os.geteuid() == 0:
        return  # nothing is forbidden to root
    (pictures / "COCO_train2014_000000000004.jpg").chmod(0)
    done = stamp_data(*call, "--overwrite")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr and "Traceback" not in done.stderr


def test_pictures_that_were_missing_from_the_start_are_rows_and_heal(tmp_path: Path) -> None:
    """Also where all were away, as a disk that is not there: the same command takes them in once they are."""
    root = plain_set(tmp_path / "data", IMAGES)
    out, pictures, away = tmp_path / "out", root / PICTURES, tmp_path / "away"
    some = sorted(pictures.iterdir())[::3]
    away.mkdir()
    for path in some:
        path.rename(away / path.name)
    (first,) = build(root, out, shard_records=1)
    assert reasons(read_set(first.folder)[1]) == ["picture-missing"] * len(some)
    for path in some:
        (away / path.name).rename(path)
    shutil.copytree(out, tmp_path / "to be repaired", copy_function=shutil.copy2)
    (second,) = build(root, out, shard_records=1)
    assert second.rendered == len(some)
    build(root, tmp_path / "fresh", shard_records=1)
    assert tree(out) == tree(tmp_path / "fresh")
    source = open_source("refcoco", root, "")
    source.load()
    done = repair(tmp_path / "to be repaired" / SET, source, LocalExecutor(1))
    assert done.built and done.built.rendered == len(some)
    assert tree(tmp_path / "to be repaired") == tree(tmp_path / "fresh")


@pytest.mark.parametrize("way", ["same command", "overwrite", "repair"])
def test_a_set_that_lost_pictures_to_an_earlier_version_heals(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Its tasks are those of the whole set, though some of its pictures were away for a moment."""
    out, path = tmp_path / "out", root / PICTURES / "COCO_train2014_000000000003.jpg"
    data = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("stamp_data.build.images.RawImages._compare", lambda *_: None)
        disturbed(root, out, path.unlink)
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    if way == "repair":
        source = open_source("refcoco", root, "")
        source.load()
        repair(out / SET, source, LocalExecutor(1))
    else:
        build(root, out, shard_records=RECORDS, overwrite=way == "overwrite")
    heals(root, out, tmp_path)


def test_a_broken_picture_that_is_mended_heals(root: Path, tmp_path: Path, stamp_data: Command) -> None:
    out, path = tmp_path / "out", root / PICTURES / "COCO_train2014_000000000005.jpg"
    call = ("-r", root, "-w", 1)
    build(root, out, shard_records=RECORDS)
    before = tree(out)
    data = picture(shade=5, mode="L")
    size = path.stat().st_size
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))  # as a backup gives it back: older than the set, and of another size
    assert size != len(data)
    assert tree(out) == before
    age(root, out)
    path.touch()
    done = stamp_data("verify", out, "--repair", *call)
    assert done.returncode == 0, done.stderr
    heals(root, out, tmp_path)


def test_a_picture_of_the_same_size_but_another_time_is_read_again(root: Path, tmp_path: Path) -> None:
    """A build that was stopped goes on: what it has made of a picture that is another one now is made again."""
    out = tmp_path / "out"
    path = sorted((root / PICTURES).iterdir())[0]
    data = path.read_bytes()

    def last_shard_fails() -> None:
        (root / PICTURES / "COCO_train2014_000000000012.jpg").unlink()

    with pytest.raises(StampError, match="is gone"):
        disturbed(root, out, last_shard_fails, shard_records=1)
    assert list(out.rglob("*.receipt")), "some shards are done"
    for other in sorted((root / PICTURES).iterdir()):
        read = other.read_bytes()
        if read.endswith(b"\xff\xd9"):
            other.write_bytes(read[:30] + bytes([read[30] ^ 1]) + read[31:])
    (root / PICTURES / "COCO_train2014_000000000012.jpg").write_bytes(data)
    build(root, out, shard_records=1)
    build(root, tmp_path / "fresh", shard_records=1)
    assert tree(out) == tree(tmp_path / "fresh")


def test_overwriting_a_finished_set_reads_pictures_again_that_are_younger_than_it(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (first,) = build(root, out, shard_records=1)
    path = root / PICTURES / "COCO_train2014_000000000003.jpg"
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    age(root, out)
    path.write_bytes(data)
    (second,) = build(root, out, shard_records=1, overwrite=True)
    assert (first.rendered, second.rendered) == (
        IMAGES,
        1 + IMAGES // 5,
    )  # shards without a record are no part of a set
    build(root, tmp_path / "fresh", shard_records=1)
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.parametrize("side", range(1, 9))
@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_jpegs_of_a_few_pixels(tmp_path: Path, side: int, damage: bytes | None) -> None:
    """With and without their end marker, beyond which Pillow is asked for an eighth of the size."""
    raw = Raw(tmp_path / "data")
    for number, size in enumerate(((100, side), (side, 100)), start=1):
        whole = picture(size)
        raw.image(number, whole[:-20] if damage is None else whole + damage, size=size)
        raw.ref(number, "it", segmentation=[[0.0, 0.0, float(size[0]), 0.0, float(size[0]), float(size[1])]])
    raw.image(3)
    raw.ref(3, "it")
    raw.save()
    (built,) = build(raw.root, tmp_path / "out")
    records, rejects = read_set(built.folder)
    assert len(records) + len(rejects) == 3
