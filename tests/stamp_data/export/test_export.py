"""What all formats have in common: an export is whole, or not there; and a loss has a name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from stamp_data.export import FORMATS, LOSSES, Loss, export_sets
from stamp_data.export.base import Format, Place
from stamp_data.shards.index import IndexRow, write_index
from stamp_data.shards.manifest import manifest_bytes, read_manifest, set_digest, with_checksum
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.shards.row import MEMBERS, placed
from stamp_data.shards.writer import ShardWriter
from stamp_schemas import Record, StampError, UsageFault
from stamp_schemas.record import Round

from ..making import tree

ALL = sorted(FORMATS)
DIALOGUES = {"ms-swift", "llama-factory", "openai"}  # formats that lose every mask
MASKS = [to for to in ALL if to not in DIALOGUES]


@pytest.mark.parametrize("to", MASKS)
def test_what_can_be_held_is_held(simple: Path, tmp_path: Path, to: str) -> None:
    seen: list[tuple[int, int, str]] = []
    report = export_sets([simple], to, tmp_path / "new" / "out", progress=lambda *state: seen.append(state))
    assert report.found == report.written and not report.losses
    assert (report.found.records, report.found.dialogues, report.found.targets) == (9, 18, 18)
    assert seen[-1] == (9, 9, "exporting tiny/train")
    assert "9 records" in report.summary() and "not held" not in report.summary()
    assert not (tmp_path / "new/out" / LOSSES).exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize("to", ALL)
def test_the_same_twice(mixed: Path, tmp_path: Path, to: str) -> None:
    for name in ("one", "two"):
        export_sets([mixed], to, tmp_path / name, allow_loss=True)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


@pytest.mark.parametrize(
    ("to", "losses"),
    [
        ("labelme", "several-masks"), ("label_studio", "several-masks"), ("masks", "several-masks"),
        ("saco", "ignored-regions"), ("json-png", "ignored-regions"),
        ("openai", "masks"), ("ms-swift", "masks"), ("llama-factory", "masks"),
    ],
)  # fmt: skip
def test_a_loss_is_named_and_nothing_written_unless_it_is_allowed(
    mixed: Path, tmp_path: Path, to: str, losses: str
) -> None:
    with pytest.raises(StampError, match=losses) as caught:
        export_sets([mixed], to, tmp_path / "out")
    assert caught.value.exit_code == 1 and "--allow-loss" in caught.value.hint
    assert not list(tmp_path.iterdir())
    report = export_sets([mixed], to, tmp_path / "out", allow_loss=True)
    assert losses in {loss.code for loss in report.losses} and losses in report.summary()
    for name in type(report.found).__struct_fields__:
        lost = sum(loss.count for loss in report.losses if loss.what == name)
        assert getattr(report.found, name) == getattr(report.written, name) + lost
    with ShardSet(mixed) as shards:
        for loss in report.losses:
            assert shards.find(loss.example)
    lines = (tmp_path / "out" / LOSSES).read_text(encoding="utf-8").splitlines()
    assert [msgspec.json.decode(line, type=Loss) for line in lines] == report.losses


@pytest.mark.parametrize("to", ["coco", "hf", "energon"])
def test_some_formats_hold_everything(mixed: Path, tmp_path: Path, to: str) -> None:
    report = export_sets([mixed], to, tmp_path / "out")
    assert report.found == report.written and report.found.ignored and not report.losses


class Forgetful(Format):
    """Loses a dialogue of every record and says nothing."""

    name = "forgetful"

    def begin(self, place: Place) -> None:
        assert place.split == "train"

    def add(self, loaded: Loaded) -> None:
        record = loaded.record
        pictures, ignored = int(loaded.image is not None), sum(bool(target.ignore_rle) for target in record.targets)
        self.tally.hold(records=1, pictures=pictures, targets=len(record.targets), ignored=ignored)
        self.tally.hold(dialogues=len(record.dialogues) - 1)


def test_a_loss_without_a_name_is_never_allowed(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "forgetful", Forgetful)
    with pytest.raises(StampError, match="14 dialogues got lost"):
        export_sets([mixed], "forgetful", tmp_path / "out", allow_loss=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ALL)
def test_a_damaged_set_is_not_exported(mixed: Path, tmp_path: Path, to: str) -> None:
    folder = Path(shutil.copytree(mixed, tmp_path / "set"))
    with ShardSet(folder) as shards:
        row = shards.rows[-1]
    data = bytearray((folder / row.shard).read_bytes())
    data[row.json_offset] ^= 1
    (folder / row.shard).write_bytes(data)
    with pytest.raises(StampError, match=rf"{row.key}\.json is damaged"):
        export_sets([folder], to, tmp_path / "out", allow_loss=True)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_calls_that_are_wrong(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="'cocoa'") as caught:
        export_sets([mixed], "cocoa", tmp_path / "out")
    assert "coco" in caught.value.hint
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for taken in (tmp_path / "full", tmp_path / "full" / "file"):
        with pytest.raises(UsageFault, match="is there already"):
            export_sets([mixed], "coco", taken)
    with pytest.raises(UsageFault, match="another set is called tiny/train"):
        export_sets([mixed, mixed], "coco", tmp_path / "out", allow_loss=True)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_an_empty_folder_is_as_good_as_none(simple: Path, tmp_path: Path) -> None:
    export_sets([simple], "coco", tmp_path)
    assert (tmp_path / "tiny" / "annotations" / "instances_train.json").exists()


def test_where_nothing_can_be_written(simple: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file/out"):
        export_sets([simple], "hf", tmp_path / "file" / "out")


def test_a_name_that_leads_elsewhere_is_refused(simple: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(simple, tmp_path / "set"))
    manifest = read_manifest(folder)
    manifest.name = "../train"
    (folder / "manifest.json").write_bytes(manifest_bytes(with_checksum(manifest)))
    with pytest.raises(StampError, match="makes no folder"):
        export_sets([folder], "json-png", tmp_path / "out")


@pytest.mark.parametrize("to", ALL)
def test_only_what_is_chosen(mixed: Path, tmp_path: Path, to: str) -> None:
    report = export_sets([mixed], to, tmp_path / "out", allow_loss=True, keep=lambda one: one.row.targets > 0)
    with ShardSet(mixed) as shards:
        assert report.found.records == sum(row.targets > 0 for row in shards.rows) < len(shards)
    with pytest.raises(StampError, match="none of the records"):
        export_sets([mixed], to, tmp_path / "other", keep=lambda _: False)


def forge(folder: Path, change: Callable[[IndexRow, Record], None]) -> None:
    """Leave one shard of a set, its rows and records changed, with hashes and sizes that fit: as someone may who means harm."""
    with ShardSet(folder) as shards:
        entry = shards.shards[0]
        found = [loaded for loaded in shards if loaded.row.shard == entry.path]
        read = [(loaded, [shards.member(loaded.row, member) for member in MEMBERS]) for loaded in found]
    rows = []
    with ShardWriter(folder / entry.path) as writer:
        for loaded, (image, _, labels) in read:
            change(loaded.row, loaded.record)
            parts = {"image": image, "json": msgspec.json.encode(loaded.record), "labels": labels}
            spans = {name: writer.add(f"{len(rows)}.{name}", data) for name, data in parts.items() if data}
            rows.append(msgspec.structs.replace(loaded.row, **placed(spans)))
    write_index(folder / "index.parquet", [rows])
    manifest = read_manifest(folder)
    made = [msgspec.structs.replace(entry, bytes=writer.size, records=len(rows), digest=writer.digest)]
    manifest = msgspec.structs.replace(manifest, shards=made, digest=set_digest(made))
    (folder / "manifest.json").write_bytes(manifest_bytes(with_checksum(manifest)))


def leads_out(row: IndexRow, record: Record) -> None:
    row.key = record.key = "../../../evil"


def is_a_program(row: IndexRow, _: Record) -> None:
    row.image_extension = "sh"


def points_beyond(_: IndexRow, record: Record) -> None:
    record.dialogues[0].targets = [99]


def asks_for_more(_: IndexRow, record: Record) -> None:
    record.dialogues[0].targets = []


def lacks_a_round(_: IndexRow, record: Record) -> None:
    record.dialogues[0].rounds = [Round("0", "the dog", ["tiny.json", "1"])] * 2


def is_joined_of_nothing(_: IndexRow, record: Record) -> None:
    record.dialogues[0].rounds = []


def has_no_runs(_: IndexRow, record: Record) -> None:
    record.targets[0].rle.counts = "0"


@pytest.mark.parametrize("to", ALL)
@pytest.mark.parametrize(
    "change",
    [leads_out, is_a_program, points_beyond, asks_for_more, lacks_a_round, is_joined_of_nothing, has_no_runs],
)
def test_a_forged_record_is_refused_and_nothing_is_written_anywhere(
    simple: Path, tmp_path: Path, to: str, change: Callable[[IndexRow, Record], None]
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(simple, folder)
    forge(folder, lambda *_: None)
    export_sets([folder], to, tmp_path / "whole", allow_loss=True)
    before = tree(tmp_path)
    forge(folder, change)
    with pytest.raises(StampError, match="set: ") as caught:
        export_sets([folder], to, tmp_path / "a" / "b" / "out", allow_loss=True)
    assert "verify" in caught.value.hint
    assert {name for name in tree(tmp_path) if not name.startswith("set/")} == {
        name for name in before if not name.startswith("set/")
    }
