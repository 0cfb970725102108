"""Building: the same bytes however it is done, nothing overwritten unasked, and one line for whatever cannot be done."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stamp_data.build.jobs import Job
from stamp_data.shards.rejects import read_rejects
from stamp_schemas import Settings, StampError, UsageFault

from ..raw import (
    FAST_OPTIONS,
    Command,
    Raw,
    Running,
    build,
    one_line,
    picture,
    plain_set,
    read_set,
    reasons,
    tree,
)

IMAGES, RECORDS = 40, 8


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """Root and out folder of a set of twelve images, three shards of four when built with `shard_records=4`."""
    return plain_set(tmp_path / "data", 12), tmp_path / "out"


def test_any_number_of_workers_gives_the_same_bytes(root: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    assert len([name for name in undisturbed if name.endswith(".tar")]) == IMAGES // RECORDS
    for workers in (2, 4):
        build(root, tmp_path / str(workers), shard_records=RECORDS, workers=workers)
        assert tree(tmp_path / str(workers)) == undisturbed


def test_finished_folder_holds_what_the_format_says_and_nothing_else(undisturbed: dict[str, bytes]) -> None:
    shards = {f"shard-{number:06d}.tar" for number in range(5)}
    names = {"index.parquet", "manifest.json", "rejects.jsonl", "wids.json", *shards}
    assert set(undisturbed) == {f"refcoco-unc/train/{name}" for name in names}


def test_where_root_and_out_are_and_where_one_stands_is_not_in_the_bytes(
    root: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root, tmp_path / "elsewhere" / "data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    build(Path("data"), Path("out"), shard_records=RECORDS)
    assert tree(tmp_path / "elsewhere" / "out") == undisturbed


def test_order_of_references_does_not_decide_which_record_goes_where(tmp_path: Path) -> None:
    keys = []
    for reverse in (False, True):
        raw = Raw(tmp_path / f"data{reverse}")
        for number in range(1, 13):
            raw.image(number)
            raw.ref(number, "it")
        raw.refs.sort(key=lambda ref: ref["ref_id"], reverse=reverse)
        raw.images.sort(key=lambda image: image["id"], reverse=reverse)
        raw.save()
        (built,) = build(raw.root, tmp_path / f"out{reverse}", shard_records=4)
        keys.append([(loaded.row.shard, loaded.row.key) for loaded in read_set(built.folder)[0]])
    assert keys[0] == keys[1]


def test_building_again_changes_nothing(small: tuple[Path, Path]) -> None:
    root, out = small
    (first,) = build(root, out)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    (second,) = build(root, out)
    assert second.rendered == 0
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == times


# One other value for each field of Settings that a call can change; dataset, split_by and split name another folder.
OTHER = {
    "seed": 1,
    "passes": 2,
    "min_tokens": 5,
    "max_tokens": 17,
    "wording": "published",
    "shard_records": 3,
    "tokenizer": None,
    "encoding": "gbk",
    "crowd": "instance",
    "factor": 32,
    "rounds": 3,
}


def test_other_settings_cover_every_field() -> None:
    assert set(OTHER) | {"dataset", "split_by", "split"} == set(Settings.__struct_fields__)
    assert set(OTHER) <= set(Job.__struct_fields__)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tokenizers

    folder = tmp_path_factory.mktemp("tokenizer")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, [], unk_token=None))
    bpe.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("field", OTHER)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_changed_setting_is_refused_and_overwrite_builds_it(
    field: str, finished: bool, small: tuple[Path, Path], killed: Path, tokenizer: Path, tmp_path: Path
) -> None:
    root, out = small
    changed = {field: tokenizer if field == "tokenizer" else OTHER[field]}
    if finished:
        build(root, out, **{"shard_records": 4})
    else:
        shutil.copytree(killed, out)
    before = tree(out)
    with pytest.raises(StampError, match=f"built differently: .*{field}") as fault:
        build(root, out, **{"shard_records": 4, **changed})
    assert "--overwrite" in str(fault.value)
    assert {name: data for name, data in before.items() if not name.endswith(".lock")} == tree(out)
    build(root, out, overwrite=True, **{"shard_records": 4, **changed})
    build(root, tmp_path / "fresh", **{"shard_records": 4, **changed})
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An out folder as a killed build leaves it: two of three shards done, one half written."""
    home = tmp_path_factory.mktemp("killed")
    root, out = plain_set(home / "data", 12), home / "out"
    folder = out / "refcoco-unc" / "train"
    options = (*FAST_OPTIONS, "--shard-records", 4, "--workers", 1)
    for _ in range(20):  # now and then it is done before it can be killed
        shutil.rmtree(out, ignore_errors=True)
        running = Running("build", "refcoco", "--root", root, "--out", out, *options)
        while len(list(folder.glob("*.tar"))) < 2 and running.process.poll() is None:
            pass
        running.process.kill()
        running.finish()
        if not (folder / "manifest.json").exists():
            return out
    raise AssertionError("always built before it could be stopped")


def test_overwrite_keeps_the_shards_that_come_out_the_same(small: tuple[Path, Path]) -> None:
    root, out = small
    (first,) = build(root, out, shard_records=4)
    shards = {path.name: path.stat().st_ino for path in first.folder.glob("*.tar")}
    changed = first.folder / "shard-000001.tar"
    changed.write_bytes(b"damaged" + changed.read_bytes()[7:])
    (second,) = build(root, out, shard_records=4, overwrite=True)
    assert second.rendered == 1
    assert second.manifest == first.manifest
    kept = {path.name: path.stat().st_ino for path in first.folder.glob("*.tar")}
    assert [name for name in shards if shards[name] != kept[name]] == ["shard-000001.tar"]


def test_overwrite_with_fewer_shards_leaves_none_of_the_old(small: tuple[Path, Path], tmp_path: Path) -> None:
    root, out = small
    build(root, out, shard_records=2)
    build(root, out, shard_records=6, overwrite=True)
    build(root, tmp_path / "fresh", shard_records=6)
    assert tree(out) == tree(tmp_path / "fresh")


@pytest.mark.parametrize("damage", [b"", b"{", b"not json", b"{}", b"[1]"])
def test_damaged_manifest_is_one_line_and_overwrite_mends_it(small: tuple[Path, Path], damage: bytes) -> None:
    root, out = small
    (built,) = build(root, out)
    whole = tree(out)
    (built.folder / "manifest.json").write_bytes(damage)
    with pytest.raises(StampError, match=r"manifest\.json: (not a manifest|is of schema)") as fault:
        build(root, out)
    assert "\n" not in str(fault.value)
    build(root, out, overwrite=True)
    assert tree(out) == whole


def test_manifest_that_names_other_shards_is_mended_by_overwrite(small: tuple[Path, Path]) -> None:
    root, out = small
    (built,) = build(root, out, shard_records=4)
    whole = tree(out)
    path = built.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"shard-000001.tar", b"shard-000009.tar"))
    (again,) = build(root, out, shard_records=4, overwrite=True)
    assert again.rendered == 1
    assert tree(out) == whole


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\xff\xfe"])
def test_damaged_state_of_a_stopped_build_is_no_traceback(
    small: tuple[Path, Path], killed: Path, damage: bytes
) -> None:
    root, out = small
    shutil.copytree(killed, out)
    for path in (out / "refcoco-unc" / "train" / ".build").iterdir():
        path.write_bytes(damage)
    build(root, out, shard_records=4, overwrite=True)
    assert (out / "refcoco-unc" / "train" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["index.parquet", "rejects.jsonl", "wids.json", "shard-000001.tar"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_missing_or_cut_file_of_a_finished_set_is_made_again(small: tuple[Path, Path], name: str, damage: str) -> None:
    root, out = small
    (built,) = build(root, out, shard_records=4)
    whole = tree(out)
    path = built.folder / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    build(root, out, shard_records=4, overwrite=True)
    assert tree(out) == whole


def test_files_that_are_not_of_the_set_are_left_alone(small: tuple[Path, Path]) -> None:
    root, out = small
    folder = out / "refcoco-unc" / "train"
    folder.mkdir(parents=True)
    mine = [folder / name for name in ("notes.txt", "shard-mine.tar", "index.parquet.old")]
    for path in mine:
        path.write_text("mine")
    build(root, out)
    build(root, out, seed=1, overwrite=True)
    assert [path.read_text(encoding="utf-8") for path in mine] == ["mine"] * 3


@pytest.mark.parametrize("name", ["manifest.json", "shard-000000.tar", "index.parquet", "wids.json"])
def test_folder_where_a_file_belongs_is_one_line(small: tuple[Path, Path], name: str) -> None:
    root, out = small
    (out / "refcoco-unc" / "train" / name / "mine").mkdir(parents=True)
    with pytest.raises((StampError, OSError), match=re.escape(name)):
        build(root, out)
    assert (out / "refcoco-unc" / "train" / name / "mine").is_dir()


def test_missing_shard_of_a_finished_set_is_made_again_unasked(small: tuple[Path, Path]) -> None:
    root, out = small
    (built,) = build(root, out, shard_records=4)
    whole = tree(out)
    (built.folder / "shard-000002.tar").unlink()
    (again,) = build(root, out, shard_records=4)
    assert again.rendered == 1
    assert tree(out) == whole


def test_changed_annotation_file_is_refused_by_name(small: tuple[Path, Path]) -> None:
    root, out = small
    build(root, out)
    instances = root / "refer_seg/refcoco/instances.json"
    instances.write_bytes(instances.read_bytes() + b" ")
    with pytest.raises(StampError, match=r"refer_seg/refcoco/instances\.json has changed"):
        build(root, out)
    (again,) = build(root, out, overwrite=True)
    assert again.rendered == 0, "a space after the JSON changes no shard"


def test_replaced_picture_is_rendered_when_a_stopped_build_goes_on(
    small: tuple[Path, Path], killed: Path, tmp_path: Path
) -> None:
    root, out = small
    shutil.copytree(killed, out)
    for path in sorted((root / "refer_seg/images/coco_2014/train2014").iterdir()):
        path.write_bytes(picture(shade=200, mode="L") + bytes(64))  # other bytes, another size
    build(root, out, shard_records=4)
    build(root, tmp_path / "fresh", shard_records=4)
    assert tree(out) == tree(tmp_path / "fresh")


def test_picture_that_comes_later_is_taken_in_by_overwrite(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    for number in (1, 2, 3):
        raw.image(number, b"" if number == 2 else None)
        raw.ref(number, "it")
    raw.save()
    (first,) = build(raw.root, tmp_path / "out", shard_records=1)
    assert first.manifest.totals.records == 2
    assert reasons(read_set(first.folder)[1]) == ["picture-missing"]
    (raw.pictures / "COCO_train2014_000000000002.jpg").write_bytes(picture())
    (second,) = build(raw.root, tmp_path / "out", shard_records=1, overwrite=True)
    assert (second.rendered, second.manifest.totals.records, second.manifest.totals.rejects) == (1, 3, 0)
    build(raw.root, tmp_path / "fresh", shard_records=1)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_shard_without_any_record_is_left_out(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    for number in range(1, 5):
        raw.image(number, b"" if number < 4 else None)
        raw.ref(number, "it")
    raw.save()
    (built,) = build(raw.root, tmp_path / "out", shard_records=1)
    whole = tree(tmp_path / "out")
    assert len(list(built.folder.glob("*.tar"))) == len(built.manifest.shards) == 1
    assert built.manifest.totals.rejects == 3
    build(raw.root, tmp_path / "out", shard_records=1, overwrite=True)
    assert tree(tmp_path / "out") == whole


def test_second_build_into_the_folder_is_refused_and_the_first_unharmed(stamp_data: Command, tmp_path: Path) -> None:
    root, out = plain_set(tmp_path / "data", 60), tmp_path / "out"
    call = ("build", "refcoco", "--root", root, "--out", out, *FAST_OPTIONS, "--shard-records", 2, "--workers", 1)
    first = Running(*call)
    first.wait_for("building")
    first.process.send_signal(subprocess.signal.SIGSTOP)  # so that it is at work for certain while the second comes
    try:
        second = stamp_data(*call)
    finally:
        first.process.send_signal(subprocess.signal.SIGCONT)
    assert second.returncode == 1
    assert re.fullmatch(
        r"error: .*refcoco-unc/train: another build is at work here \(process \d+ on .+\)", one_line(second.stderr)
    )
    assert first.finish()[0] == 0
    build(root, tmp_path / "fresh", shard_records=2)
    assert tree(out) == tree(tmp_path / "fresh")


def test_lock_that_was_left_by_a_dead_build_does_not_stand_in_the_way(small: tuple[Path, Path]) -> None:
    root, out = small
    folder = out / "refcoco-unc" / "train"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    build(root, out)
    assert not (folder / ".lock").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of one megabyte."""
    point = tmp_path / "disk"
    point.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point]).returncode:
        pytest.skip("mounting a small file system takes root")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_is_one_line_and_goes_on_once_there_is_room(
    stamp_data: Command, disk: Path, tmp_path: Path, workers: int
) -> None:
    root = plain_set(tmp_path / "data", 200)
    call = ("build", "refcoco", "--root", root, "--out", disk, *FAST_OPTIONS, "--shard-records", 20, "-w", workers)
    full = stamp_data(*call)
    assert full.returncode == 1
    assert "No space left on device" in one_line(full.stderr)
    assert "make room" in full.stderr
    assert not list(disk.rglob("manifest.json"))
    subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
    assert stamp_data(*call).returncode == 0
    build(root, tmp_path / "fresh", shard_records=20)
    assert tree(disk) == tree(tmp_path / "fresh")


@pytest.mark.parametrize("room", [0, 3_000, 30_000, 100_000])
def test_failing_write_of_any_file_is_one_line_and_goes_on_later(
    stamp_data: Command, tmp_path: Path, room: int
) -> None:
    """A limit on file size fails in turn the configuration, a task, a shard, and only the largest shard."""
    root, out = plain_set(tmp_path / "data", 40), tmp_path / "out"
    call = ("build", "refcoco", "--root", root, "--out", out, *FAST_OPTIONS, "--shard-records", 20, "--workers", 1)
    failed = stamp_data(*call, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
    if failed.returncode == 0:
        pytest.skip("every file is smaller")
    assert failed.returncode == 1
    assert "File too large" in one_line(failed.stderr)
    assert not list(out.rglob("manifest.json"))
    assert stamp_data(*call).returncode == 0
    build(root, tmp_path / "fresh", shard_records=20)
    assert tree(out) == tree(tmp_path / "fresh")


def test_read_only_folder_is_one_line(stamp_data: Command, disk: Path, small: tuple[Path, Path]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    outcome = stamp_data("build", "refcoco", "--root", small[0], "--out", disk / "sets", *FAST_OPTIONS)
    assert outcome.returncode == 1
    assert "Read-only file system" in one_line(outcome.stderr)


def test_out_that_is_a_file_is_one_line(stamp_data: Command, small: tuple[Path, Path]) -> None:
    root, out = small
    out.write_text("mine")
    outcome = stamp_data("build", "refcoco", "--root", root, "--out", out, *FAST_OPTIONS)
    assert outcome.returncode == 1
    assert str(out) in one_line(outcome.stderr)
    assert out.read_text(encoding="utf-8") == "mine"


WRONG_CALLS = {
    "no-root": (["refcoco", "--root", "nowhere"], 2, "nowhere"),
    "unknown-name": (["refcoc", "--root", "."], 2, "refcoc"),
    "unknown-split-by": (["refcoco", "--split-by", "umd", "--root", "."], 2, "umd"),
    "nothing-there": (["refcoco", "--root", "."], 1, "refs(unc).p"),
    "all-of-nothing": (["all", "--root", "."], 1, "no dataset found"),
    "bounds": (["refcoco", "--root", ".", "--min-tokens", "9", "--max-tokens", "8"], 2, "--min-tokens 9"),
    "too-many": (["refcoco", "--root", ".", "--max-tokens", "16385"], 2, "16385"),
    "no-tokenizer": (["refcoco", "--root", ".", "--tokenizer", "nowhere"], 2, "nowhere"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_call_is_one_line(stamp_data: Command, tmp_path: Path, case: str) -> None:
    arguments, code, words = WRONG_CALLS[case]
    outcome = stamp_data("build", *arguments, "--out", "out", "--workers", 1, cwd=tmp_path)
    assert outcome.returncode == code
    assert words in one_line(outcome.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [["refcoco"], ["refcoco", "refcoco+"], ["all"]])
def test_split_that_no_dataset_has_is_refused(stamp_data: Command, tmp_path: Path, names: list[str]) -> None:
    for name in ("refcoco", "refcoco+"):
        raw = Raw(tmp_path / "data", name)
        raw.image(1)
        raw.ref(1, "it")
        raw.save()
    call = ("build", *names, "--root", tmp_path / "data", "--out", tmp_path / "out", "--workers", 1)
    outcome = stamp_data(*call, "--split", "tran")
    assert outcome.returncode == 2
    assert "tran" in one_line(outcome.stderr)


def test_set_of_which_nothing_is_left_does_not_keep_the_others_from_being_built(
    stamp_data: Command, tmp_path: Path
) -> None:
    """`build all` where one dataset's pictures were never downloaded: the rest is built, and the exit code tells."""
    raw = Raw(tmp_path / "data", "refcoco")
    raw.image(1, b"")
    raw.ref(1, "it")
    raw.save()
    other = Raw(tmp_path / "data", "refcoco+")
    other.image(2)
    other.ref(2, "it")
    other.save()
    outcome = stamp_data("build", "all", "--root", raw.root, "--out", tmp_path / "out", *FAST_OPTIONS, "-w", 1)
    assert outcome.returncode == 1
    assert "refcoco-unc/train: every record was refused" in one_line(outcome.stderr)
    assert (tmp_path / "out/refcoco+-unc/train/manifest.json").exists()
    assert not (tmp_path / "out/refcoco-unc/train/manifest.json").exists()
    (row,) = read_rejects(tmp_path / "out/refcoco-unc/train/rejects.jsonl")
    assert (row.action, row.expressions) == ("dropped", 1) and row.file.endswith(".jpg")


def test_evaluation_splits_are_never_drawn_twice(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    for number, split in ((1, "train"), (2, "val"), (3, "testA")):
        raw.image(number)
        raw.ref(number, "one", "two", split=split)
    raw.save()
    built = {one.manifest.settings.split: one.manifest for one in build(raw.root, tmp_path / "out", passes=3)}
    assert {split: manifest.totals.dialogues for split, manifest in built.items()} == {"train": 6, "val": 2, "testA": 2}


def test_manifest_describes_the_files_it_stands_beside(root: Path, tmp_path: Path) -> None:
    (built,) = build(root, tmp_path, shard_records=RECORDS)
    manifest = msgspec.json.decode((built.folder / "manifest.json").read_bytes())
    assert [(built.folder / one["path"]).stat().st_size for one in manifest["shards"]] == [
        one["bytes"] for one in manifest["shards"]
    ]
    kept = IMAGES - IMAGES // 3
    assert (manifest["totals"]["records"], manifest["totals"]["dialogues"]) == (kept, 3 * kept)
    assert manifest["totals"]["rejects"] == IMAGES - kept
    assert {one["path"] for one in manifest["inputs"]} == {
        "refer_seg/refcoco/refs(unc).p",
        "refer_seg/refcoco/instances.json",
    }


def test_where_nothing_is_usable_the_reasons_are_counted_and_listed(tmp_path: Path) -> None:
    """All refused by the annotations alone, by their pictures, or before it is even known of which split they are."""
    raw = Raw(tmp_path / "data")
    raw.image(1, name="../out.jpg", stored=b"")
    raw.ref(1, "one", "two")
    raw.ref(7, "three")
    raw.save()
    with pytest.raises(StampError, match=r"no usable record: image-missing 1, path-escape 1 .*rejects\.jsonl"):
        build(raw.root, tmp_path / "out")
    folder = tmp_path / "out/refcoco-unc/train"
    assert [path.name for path in folder.iterdir()] == ["rejects.jsonl"]
    assert sum(row.expressions for row in read_rejects(folder / "rejects.jsonl")) == raw.expressions

    raw = Raw(tmp_path / "pictures")
    raw.image(1, stored=b"")
    raw.ref(1, "one", "two")
    raw.save()
    with pytest.raises(StampError, match=r"every record was refused: picture-missing 1"):
        build(raw.root, tmp_path / "out2")
    assert [path.name for path in (tmp_path / "out2/refcoco-unc/train").iterdir()] == ["rejects.jsonl"]

    raw = Raw(tmp_path / "splits")
    raw.refs = [{"split": None, "sentences": [{"sent": "one"}]}, 7]
    raw.save()
    with pytest.raises(StampError, match=r"no usable record in .*refs\(unc\)\.p: bad-reference 2"):
        build(raw.root, tmp_path / "out3")
    assert len(read_rejects(tmp_path / "out3/refcoco-unc/rejects.jsonl")) == 2


def test_an_encoding_that_nobody_knows_is_one_line(small: tuple[Path, Path]) -> None:
    root, out = small
    for name in ("gbkk", "hex", "undefined", "a\0b"):
        with pytest.raises(UsageFault, match="no encoding is called"):
            build(root, out, encoding=name)
