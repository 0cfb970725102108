"""verify: whatever is damaged is found, and found where it is; repair: the set comes back byte by byte."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from xxhash import xxh3_64_intdigest

from stamp_data.executors.local import LocalExecutor
from stamp_data.shards.index import FEW_ROWS, SCHEMA, IndexRow, read_rows, read_table, write_index
from stamp_data.shards.manifest import manifest_bytes, read_manifest, set_digest, wids_bytes, with_checksum
from stamp_data.shards.reader import ShardSet
from stamp_data.verify import Fault, repair, unguarded, verify_set
from stamp_data.verify.repair import derive_rows
from stamp_data.verify.sets import check_manifest
from stamp_data.writing import write_atomic
from stamp_schemas import Manifest, Record, StampError, UsageFault

from ..making import ListSource, assorted, build, jpeg, pictured, tree
from ..raw import FAST_OPTIONS, Command, plain_set

RECORDS = 14


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ListSource:
    return assorted(tmp_path_factory.mktemp("raw"), RECORDS)


@pytest.fixture(scope="module")
def pristine(source: ListSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("out"))


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the set to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "out" / "tiny" / "train"))


def codes(faults: list[Fault]) -> set[str]:
    return {fault.code for fault in faults}


def rows_of(folder: Path, shard: str) -> list[IndexRow]:
    return [row for row in read_rows(folder) if row.shard == shard]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def with_targets(folder: Path) -> IndexRow:
    """A record with targets in the second shard."""
    return next(row for row in rows_of(folder, "shard-000001.tar") if row.targets == 3)


def test_a_good_set_has_no_faults(pristine: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    assert verify_set(pristine, progress=lambda *state: seen.append(state)) == []
    assert seen[0][:2] == (0, 4) and seen[-1][:2] == (4, 4)
    assert verify_set(pristine, labels=False) == []


def test_workers_find_the_same_in_the_same_order(folder: Path) -> None:
    for shard in ("shard-000002.tar", "shard-000000.tar"):
        row = rows_of(folder, shard)[1]
        flip(folder / shard, row.json_offset + 5)
    alone = verify_set(folder)
    assert alone == verify_set(folder, workers=2)
    assert [fault.shard for fault in alone] == sorted(fault.shard for fault in alone)


def test_not_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="no such folder"):
        verify_set(tmp_path / "nothing")


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "json", "labels"])
def test_one_flipped_bit_in_a_member_is_named(folder: Path, kind: str) -> None:
    row = with_targets(folder)
    offset, size, _ = row.span(kind)
    flip(folder / row.shard, offset + size // 2)
    faults = verify_set(folder)
    assert codes(faults) == {"file-digest", "member-digest"}
    assert faults[-1] == Fault(row.shard, "member-digest", faults[-1].detail, row.key, row.member_name(kind))


@pytest.mark.parametrize("place", [0, 107, 150, 345])
def test_one_flipped_bit_in_a_header_is_named_and_all_else_still_checked(folder: Path, place: int) -> None:
    row = with_targets(folder)
    flip(folder / row.shard, row.json_offset - 512 + place)
    last = rows_of(folder, row.shard)[-1]
    flip(folder / row.shard, last.json_offset)
    found = {(fault.code, fault.record, fault.member) for fault in verify_set(folder)[1:]}
    assert found == {
        ("tar-header", row.key, row.member_name("json")),
        ("member-digest", last.key, last.member_name("json")),
    }


def test_padding_is_checked(folder: Path) -> None:
    row = with_targets(folder)
    assert row.json_bytes % 512
    flip(folder / row.shard, row.json_offset + row.json_bytes)
    assert [(fault.code, fault.member) for fault in verify_set(folder)] == [
        ("file-digest", ""),
        ("tar-padding", row.member_name("json")),
    ]
    shard = folder / "shard-000000.tar"
    flip(shard, shard.stat().st_size - 1)
    assert "tar-padding" in codes([fault for fault in verify_set(folder) if fault.shard == shard.name])


@pytest.mark.parametrize("terminated", [False, True])
def test_a_tar_cut_between_records_names_the_first_missing(folder: Path, terminated: bool) -> None:
    """The cut that no reader of tars notices: at a member boundary, with or without a new end of archive."""
    rows = rows_of(folder, "shard-000001.tar")
    path = folder / "shard-000001.tar"
    start = min(offset for kind in rows[2].members if (offset := rows[2].span(kind)[0])) - 512
    path.write_bytes(path.read_bytes()[:start] + bytes(1024 + -(start + 1024) % 10240 if terminated else 0))
    cut = [fault for fault in verify_set(folder) if fault.code == "tar-truncated"]
    assert [(fault.shard, fault.record, fault.member) for fault in cut] == [
        ("shard-000001.tar", rows[2].key, rows[2].member_name(rows[2].members[0]))
    ]
    assert f"{len(rows) - 2} of its records" in cut[0].detail


def test_a_tar_cut_within_a_member_names_it(folder: Path) -> None:
    row = with_targets(folder)
    path = folder / row.shard
    path.write_bytes(path.read_bytes()[: row.json_offset + 7])
    cut = [fault for fault in verify_set(folder) if fault.code == "tar-truncated"]
    assert [(fault.record, fault.member) for fault in cut] == [(row.key, row.member_name("json"))]


def test_a_tar_without_its_end_is_not_whole(folder: Path) -> None:
    path = folder / "shard-000000.tar"
    last = rows_of(folder, path.name)[-1]
    offset, size, _ = last.span(last.members[-1])
    path.write_bytes(path.read_bytes()[: offset + size + -size % 512])
    assert codes(verify_set(folder)) == {"file-size", "tar-truncated"}


Members = list[tuple[str, bytes]]


def retar(path: Path, change: Callable[[Members], Members]) -> None:
    """Write a shard anew, with its members changed in whatever way."""
    with tarfile.open(path) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_records_in_another_order_are_all_named(folder: Path) -> None:
    retar(folder / "shard-000000.tar", lambda members: members[::-1])
    keys = [row.key for row in rows_of(folder, "shard-000000.tar")]
    assert {fault.record for fault in verify_set(folder)} >= set(keys)
    (folder / "index.parquet").unlink()
    found = [fault for fault in verify_set(folder) if fault.code == "tar-order"]
    assert {fault.record for fault in found} == {row for row in keys if len(members_of(folder, row)) > 1}


def members_of(folder: Path, key: str) -> list[str]:
    with tarfile.open(folder / "shard-000000.tar") as archive:
        return [name for name in archive.getnames() if name.startswith(f"{key}.")]


def test_members_added_or_apart_are_named(folder: Path) -> None:
    extra = f"{with_targets(folder).key}.json"
    retar(folder / "shard-000001.tar", lambda members: [*members, (extra, b"{}")])
    found = {(fault.code, fault.member) for fault in verify_set(folder) if fault.shard == "shard-000001.tar"}
    assert {("member-extra", extra), ("tar-order", extra)} <= found


def test_two_shards_that_changed_places(folder: Path) -> None:
    one, other = folder / "shard-000000.tar", folder / "shard-000001.tar"
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)
    assert {one.name, other.name} == {fault.shard for fault in verify_set(folder)}


# --- files of the set ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shard-000001.tar", "index.parquet", "wids.json", "rejects.jsonl"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert (name, "file-missing") in {(fault.shard, fault.code) for fault in verify_set(folder)}


def test_without_an_index_shards_are_still_checked(folder: Path) -> None:
    row = with_targets(folder)
    (folder / "index.parquet").unlink()
    record = (folder / row.shard).read_bytes()[row.json_offset :][: row.json_bytes]
    at = row.json_offset + record.index(b"<|seg|>") + 2
    flip(folder / row.shard, at)
    faults = verify_set(folder)
    assert ("seg-count", row.key) in {(fault.code, fault.record) for fault in faults}


def test_a_damaged_index_blames_no_good_shard(folder: Path) -> None:
    rows = read_rows(folder)
    rows[3].json_offset += 512
    rows[5].json_xxh3 ^= 1
    write_index(folder / "index.parquet", [[row for row in rows if row.shard == name] for name in shard_names(rows)])
    assert {fault.shard for fault in verify_set(folder)} == {"index.parquet"}


def shard_names(rows: list[IndexRow]) -> list[str]:
    return list(dict.fromkeys(row.shard for row in rows))


def test_a_missing_or_broken_manifest_is_a_fault_and_not_the_end(folder: Path) -> None:
    row = with_targets(folder)
    flip(folder / row.shard, row.json_offset + 3)
    (folder / "manifest.json").write_bytes(b'{"schema": "stamp.manifest/9"}')
    assert {"manifest-unreadable", "member-digest"} <= codes(verify_set(folder))
    (folder / "manifest.json").unlink()
    assert {"manifest-missing", "member-digest"} <= codes(verify_set(folder))


def test_extra_shards_and_wrong_totals(folder: Path) -> None:
    shutil.copy(folder / "shard-000000.tar", folder / "shard-000009.tar")
    manifest = read_manifest(folder)
    manifest.totals.dialogues += 1
    manifest.digest = "0" * 64
    (folder / "manifest.json").write_bytes(manifest_bytes(with_checksum(manifest)))
    found = {(fault.shard, fault.code) for fault in verify_set(folder)}
    assert found == {
        ("manifest.json", "manifest-digest"),
        ("manifest.json", "manifest-totals"),
        ("shard-000009.tar", "file-extra"),
    }


def test_a_manifest_cannot_point_out_of_its_folder(folder: Path) -> None:
    manifest = read_manifest(folder)
    manifest.shards[0].path = "../shard-000000.tar"
    (folder / "manifest.json").write_bytes(manifest_bytes(with_checksum(manifest)))
    assert "manifest-totals" in codes(verify_set(folder))


# --- content: sets that are whole and consistent, but wrong ----------------------------------------------------------


def forge(
    folder: Path,
    change_record: Callable[[Record], object] | None = None,
    change_members: Callable[[dict[str, bytes]], object] | None = None,
) -> IndexRow:
    """Change one record and make every size, hash, digest and total fit again, as a faulty build would leave it."""
    victim = with_targets(folder)
    manifest = read_manifest(folder)
    path = folder / victim.shard
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}  # type: ignore[union-attr]
    own = {kind: members[victim.member_name(kind)] for kind in victim.members}
    record = msgspec.json.decode(own["json"], type=Record)
    if change_record is not None:
        change_record(record)
    own["json"] = msgspec.json.encode(record)
    if change_members is not None:
        change_members(own)
    members |= {victim.member_name(kind): data for kind, data in own.items()}
    retar(path, lambda _: list(members.items()))
    entry = next(entry for entry in manifest.shards if entry.path == victim.shard)
    entry.bytes, entry.digest = path.stat().st_size, blake3(path.read_bytes()).hexdigest()
    reseal(folder, manifest, victim, {victim.member_name(kind): data for kind, data in own.items()})
    return victim


def reseal(folder: Path, manifest: Manifest, victim: IndexRow, own: dict[str, bytes]) -> None:
    rows = read_rows(folder)
    with tarfile.open(folder / victim.shard) as archive:
        places = {member.name: (member.offset_data, member.size) for member in archive.getmembers()}
    for row in rows:
        for kind in row.members if row.shard == victim.shard else []:
            offset, size = places[row.member_name(kind)]
            setattr(row, f"{kind}_offset", offset)
            setattr(row, f"{kind}_bytes", size)
            if row.member_name(kind) in own:
                setattr(row, f"{kind}_xxh3", xxh3_64_intdigest(own[row.member_name(kind)]))
    write_index(folder / "index.parquet", [[row for row in rows if row.shard == name] for name in shard_names(rows)])
    (folder / "wids.json").write_bytes(wids_bytes(manifest.name, manifest.shards))
    for name in manifest.files:
        manifest.files[name] = blake3((folder / name).read_bytes()).hexdigest()
    manifest.digest = set_digest(manifest.shards)
    manifest.totals.bytes = sum(entry.bytes for entry in manifest.shards)
    (folder / "manifest.json").write_bytes(manifest_bytes(with_checksum(manifest)))


def relabel(members: dict[str, bytes]) -> None:
    labels = np.load(io.BytesIO(members["labels"]))
    labels[1, 2, 3] ^= 1
    buffer = io.BytesIO()
    np.save(buffer, labels)
    members["labels"] = buffer.getvalue()


def pickle_labels(members: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    members["labels"] = buffer.getvalue()


def add_field(members: dict[str, bytes]) -> None:
    members["json"] = json.dumps(json.loads(members["json"]) | {"note": 1}).encode()


def enlarge(members: dict[str, bytes]) -> None:
    """A picture of a height that is more than any float can hold."""
    members["json"] = re.sub(rb'"height":\d+', b'"height":' + b"9" * 400, members["json"], count=1)


def say(record: Record, role: str, text: str) -> None:
    message = next(message for message in record.dialogues[0].messages if message.role == role)
    message.content[-1].text += text


MEMBER_CHANGES: list[tuple[str, Callable[[dict[str, bytes]], object]]] = [
    ("labels-differ", relabel),
    ("labels-differ", pickle_labels),
    ("picture-unreadable", lambda members: members.update(image=b"\xff\xd8\xff not a picture")),
    ("picture-size", lambda members: members.update(image=jpeg(7, 9))),
    ("record-differs", enlarge),
    ("record-unreadable", add_field),
    ("record-unreadable", lambda members: members.update(json=b"[]")),
    ("record-unreadable", lambda members: members.update(json=b'{"schema": "\xff"}')),
]
RECORD_CHANGES: list[tuple[str, Callable[[Record], object]]] = [
    ("record-differs", lambda record: setattr(record, "key", "someone-else")),
    ("record-differs", lambda record: setattr(record.source, "split", "val")),
    ("record-differs", lambda record: setattr(record, "dialogues", [])),
    ("record-differs", lambda record: setattr(record.image, "height", 10**9)),
    ("record-differs", lambda record: setattr(record.dialogues[0], "id", record.dialogues[1].id)),
    ("picture-size", lambda record: setattr(record.image, "width", 7)),
    ("rle-invalid", lambda record: setattr(record.targets[0].rle, "counts", "0123")),
    ("rle-invalid", lambda record: setattr(record.targets[0].rle, "size", (3, 3))),
    ("mask-derived", lambda record: setattr(record.targets[0], "area", record.targets[0].area + 1)),
    ("labels-differ", lambda record: setattr(record.targets[1], "ignore_rle", None)),
    ("target-index", lambda record: setattr(record.dialogues[0], "targets", [3])),
    ("seg-count", lambda record: say(record, "assistant", " and <|seg|>")),
    ("control-token", lambda record: say(record, "user", " <|seg|>")),
    ("control-token", lambda record: say(record, "assistant", " <|im_end|>")),
    ("control-token", lambda record: setattr(record.dialogues[0], "expression", "the [class_name]")),
    ("image-count", lambda record: record.dialogues[0].messages[0].content.pop(0)),
    ("index-differs", lambda record: say(record, "assistant", " longer")),
]


def test_forging_itself_leaves_no_trace(folder: Path) -> None:
    forge(folder)
    assert verify_set(folder) == []


@pytest.mark.parametrize(("code", "change"), MEMBER_CHANGES)
def test_a_consistent_set_with_a_wrong_member_is_found_out(
    folder: Path, code: str, change: Callable[[dict[str, bytes]], object]
) -> None:
    blame_one_record(verify_set(folder), code, forge(folder, change_members=change), verify_set(folder))


@pytest.mark.parametrize(("code", "change"), RECORD_CHANGES)
def test_a_consistent_set_with_a_wrong_record_is_found_out(
    folder: Path, code: str, change: Callable[[Record], object]
) -> None:
    blame_one_record(verify_set(folder), code, forge(folder, change_record=change), verify_set(folder))


def blame_one_record(before: list[Fault], code: str, victim: IndexRow, after: list[Fault]) -> None:
    assert before == []
    assert (code, victim.shard, victim.key) in {(fault.code, fault.shard, fault.record) for fault in after}
    assert {fault.record for fault in after} == {victim.key}


# --- any damage at all -----------------------------------------------------------------------------------------------


def damage(data: bytes, chance: random.Random) -> tuple[bytes, int]:
    """Data with a flipped byte, cut short, or with two pieces exchanged; and the first offset that is no longer right."""
    kind = chance.choice(["flip", "cut", "swap"])
    if kind == "cut":
        length = chance.choice([chance.randrange(len(data)), chance.randrange(len(data)) // 512 * 512])
        return data[:length], length
    if kind == "swap":
        size = chance.choice([1, 100, 512, 1536])
        one, other = sorted(chance.sample(range(len(data) // size), 2)) if len(data) // size > 1 else (0, 0)
        blocks = [data[at * size : (at + 1) * size] for at in (one, other)]
        swapped = bytearray(data)
        swapped[one * size : (one + 1) * size], swapped[other * size : (other + 1) * size] = blocks[1], blocks[0]
        return bytes(swapped), next((at for at, byte in enumerate(data) if byte != swapped[at]), -1)
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ chance.randrange(1, 256)]) + data[place + 1 :], place


def test_random_damage_is_always_located(pristine: Path, folder: Path) -> None:
    """300 times: the file is named, and the record too wherever a member or its header was hit."""
    chance = random.Random(20)
    names = sorted(path.name for path in pristine.iterdir() if path.name != "manifest.json")
    by_shard = {name: rows_of(pristine, name) for name in names}
    tried = 0
    while tried < 300:
        name = chance.choice(names)
        whole = (pristine / name).read_bytes()
        broken, place = damage(whole, chance)
        if broken == whole:
            continue
        tried += 1
        (folder / name).write_bytes(broken)
        faults = verify_set(folder)
        assert {fault.shard for fault in faults} == {name}, f"{tried}: damage at byte {place} of {name}: {faults}"
        for row in by_shard[name]:
            for kind in row.members:
                offset, size, _ = row.span(kind)
                if offset - 512 <= place < offset + size:
                    found = [(fault.record, fault.member) for fault in faults]
                    assert (row.key, row.member_name(kind)) in found, f"{tried}: byte {place}: {faults}"
        (folder / name).write_bytes(whole)


def test_random_damage_to_the_manifest_never_crashes(pristine: Path, folder: Path) -> None:
    chance = random.Random(21)
    whole = (pristine / "manifest.json").read_bytes()
    for _ in range(100):
        (folder / "manifest.json").write_bytes(damage(whole, chance)[0])
        for fault in verify_set(folder, labels=False):
            assert fault.detail
    digest = whole.index(b'"digest"') + 12
    (folder / "manifest.json").write_bytes(whole[:digest] + b"x" + whole[digest + 1 :])
    assert "manifest-digest" in codes(verify_set(folder))


def change_settings(folder: Path, **changes: object) -> Manifest:
    """Other settings in a manifest, whose checksum then does not fit; returns what it was."""
    manifest = read_manifest(folder)
    changed = msgspec.structs.replace(manifest, settings=msgspec.structs.replace(manifest.settings, **changes))
    (folder / "manifest.json").write_bytes(manifest_bytes(changed))
    return manifest


def drop_checksum(folder: Path) -> None:
    """The manifest as versions before the checksum wrote it."""
    manifest = msgspec.structs.replace(read_manifest(folder, checked=False), checksum=msgspec.UNSET)
    (folder / "manifest.json").write_bytes(manifest_bytes(manifest))


def test_any_changed_byte_is_found_in_whatever_file(pristine: Path, folder: Path) -> None:
    """A sample of what `make fuzz` does 2,000 times."""
    chance = random.Random(22)
    names = sorted(path.name for path in pristine.iterdir())
    for number in range(120):
        name = names[number % len(names)]
        whole = (pristine / name).read_bytes()
        place = chance.randrange(len(whole))
        (folder / name).write_bytes(
            whole[:place] + bytes([whole[place] ^ chance.randrange(1, 256)]) + whole[place + 1 :]
        )
        assert name in {fault.shard for fault in verify_set(folder, labels=False)}, f"byte {place} of {name}"
        (folder / name).write_bytes(whole)


def test_every_byte_of_the_manifest_counts(pristine: Path, folder: Path) -> None:
    whole = (pristine / "manifest.json").read_bytes()
    for place in range(len(whole)):
        (folder / "manifest.json").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert check_manifest(folder)[1], f"byte {place}: {whole[place - 20 : place + 20]!r}"


def test_a_changed_manifest_is_not_read_as_if_nothing_were(folder: Path) -> None:
    change_settings(folder, seed=1)
    assert codes(verify_set(folder)) == {"manifest-changed"}
    with pytest.raises(StampError, match=r"manifest\.json: changed since"):
        ShardSet(folder)


def test_a_manifest_of_an_earlier_version_still_opens_and_is_told_of(folder: Path, stamp_data: Command) -> None:
    assert not unguarded(folder)
    drop_checksum(folder)
    assert unguarded(folder)
    assert verify_set(folder) == []
    with ShardSet(folder) as shards:
        assert len(list(shards)) == RECORDS
    done = stamp_data("verify", folder)
    assert done.returncode == 0
    assert "earlier version, without a checksum" in done.stderr


MENDED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "its seed": (lambda data: data.replace(b'"seed": 0', b'"seed": 1'), "manifest.json"),
    "its totals": (lambda data: data.replace(b'"records": ', b'"records": 1'), "manifest.json"),
    "its end": (lambda data: data[:-9], "manifest.json"),
    "a shard": (lambda data: data[:3000] + b"?" + data[3001:], "shard-000000.tar"),
}


@pytest.mark.parametrize("damaged", MENDED)
def test_what_verify_hints_at_mends_the_set(damaged: str, stamp_data: Command, tmp_path: Path) -> None:
    raw, out = plain_set(tmp_path / "raw", 6), tmp_path / "out"
    call = ("build", "refcoco", "--root", raw, "--out", out, *FAST_OPTIONS, "--workers", 1)
    assert stamp_data(*call).returncode == 0
    folder, (change, name) = out / "refcoco-unc/train", MENDED[damaged]
    before = tree(folder)
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    found = stamp_data("verify", out, "--workers", 1)
    assert found.returncode == 1, found
    (hint,) = re.findall(r"^hint: (.+)$", found.stderr, re.MULTILINE)
    if name == "manifest.json":
        assert hint.startswith(f"{folder}: `stamp-data build` with --overwrite and the options that it was built with")
        done = stamp_data(*call, "--overwrite")
    else:
        assert hint == f"stamp-data verify {out} --repair --root ROOT builds the damaged shards anew"
        done = stamp_data("verify", out, "--repair", "--root", raw, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert tree(folder) == before


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("field", ["passes", "min_tokens", "max_tokens", "shard_records"])
def test_settings_that_make_no_sense_are_no_manifest(folder: Path, field: str, value: int) -> None:
    change_settings(folder, **{field: value})
    assert codes(verify_set(folder)) == {"manifest-unreadable"}


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "circle": lambda path: path.symlink_to(path),
    "sparse": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 41),
}


@pytest.mark.parametrize("name", ["manifest.json", "index.parquet", "wids.json", "rejects.jsonl", "shard-000001.tar"])
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_of_a_sane_size_is_told_of_and_never_read(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    try:
        SPECIAL[kind](folder / name)
    except OSError as fault:
        pytest.skip(f"not here: {fault}")
    found = [fault for fault in verify_set(folder) if fault.shard == name]
    assert {"file-unreadable"} == codes(found), found
    if name in ("wids.json", "rejects.jsonl"):
        return
    with pytest.raises(StampError, match=re.escape(name)), ShardSet(folder) as shards:
        list(shards)


@pytest.mark.parametrize(
    "name", ["../../secret.tar", "/etc/passwd", "shard-000000.tar/../x", "manifest.json", "", "\0"]
)
def test_an_index_cannot_lead_out_of_the_folder(folder: Path, name: str) -> None:
    with ShardSet(folder) as shards:
        row = msgspec.structs.replace(shards.rows[0], shard=name)
        with pytest.raises(StampError, match="not the name of a shard"):
            shards.load(row)


def test_an_index_cannot_point_before_the_file(folder: Path) -> None:
    with ShardSet(folder) as shards:
        for change in (
            {"json_offset": -1},
            {"json_bytes": -1},
            {"json_offset": 1 << 60},
            {"json_bytes": (1 << 31) - 1},
        ):
            with pytest.raises(StampError, match="is damaged"):
                shards.load(msgspec.structs.replace(shards.rows[0], **change))


def test_a_column_whose_name_is_no_text_is_one_line(folder: Path) -> None:
    path = folder / "index.parquet"
    data = path.read_bytes()
    assert data.count(b"grid_height") >= 1
    path.write_bytes(data.replace(b"grid_height", b"grid_\xff\xfe\xfd\xfc\xfb\xfa"))
    with pytest.raises(StampError, match=r"index\.parquet"):
        read_rows(path.parent)
    assert "index-unreadable" in codes(verify_set(folder))


def test_rows_beyond_reason_are_not_made(folder: Path) -> None:
    """A column of one value compresses to nothing: a small file could ask for all memory there is."""
    widths = pa.array(np.zeros(FEW_ROWS + 1, np.int32))
    table = pa.table([widths], schema=pa.schema([SCHEMA.field("width")]))
    pq.write_table(table, folder / "index.parquet")
    with pytest.raises(StampError, match="claims 1,048,577 rows"):
        read_table(folder, ["width"])


# --- repair ----------------------------------------------------------------------------------------------------------


def mend(folder: Path, source: ListSource, **options: Path) -> tuple[int, bool]:
    """Repair; returns how many shards were rendered, and whether the set is as before."""
    outcome = repair(folder, source, LocalExecutor(1), **options)
    assert outcome.left == []
    return outcome.built.rendered if outcome.built else 0, outcome.identical


def test_repair_builds_only_what_is_damaged(pristine: Path, folder: Path, source: ListSource) -> None:
    assert mend(folder, source) == (0, True)
    row = with_targets(folder)
    flip(folder / row.shard, row.image_offset + 9)
    (folder / "shard-000003.tar").unlink()
    assert mend(folder, source) == (2, True)
    assert tree(folder) == tree(pristine)


@pytest.mark.parametrize(
    ("name", "rendered"), [("index.parquet", 0), ("wids.json", 0), ("rejects.jsonl", 4), ("shard-000000.tar", 1)]
)
@pytest.mark.parametrize("lost", [True, False])
def test_repair_of_each_file(
    pristine: Path, folder: Path, source: ListSource, name: str, rendered: int, lost: bool
) -> None:
    if lost:
        (folder / name).unlink()
    else:
        flip(folder / name, (folder / name).stat().st_size // 2)
    assert mend(folder, source) == (rendered, True)
    assert tree(folder) == tree(pristine)


def test_a_repair_that_is_killed_as_it_begins_is_still_known(
    folder: Path, source: ListSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without manifest and config.json at once, a build of other settings would take the folder for its own."""
    (folder / "shard-000003.tar").unlink()

    def killed(path: Path, data: bytes) -> None:
        if path.name == "config.json":
            raise KeyboardInterrupt
        write_atomic(path, data)

    monkeypatch.setattr("stamp_data.build.split.write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        repair(folder, source, LocalExecutor(1))
    assert (folder / "manifest.json").is_file()


def test_repair_refuses_other_raw_data(folder: Path, source: ListSource, tmp_path: Path) -> None:
    (folder / "wids.json").unlink()
    other = ListSource(tmp_path / "raw", [pictured(tmp_path / "raw", 1)])
    before = tree(folder)
    with pytest.raises(StampError, match=r"tiny\.json changed"):
        repair(folder, other, LocalExecutor(1))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageFault, match="tokenizer"):
        repair(folder, source, LocalExecutor(1), tokenizer=tmp_path)
    moved = folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UsageFault, match="own name"):
        repair(moved, source, LocalExecutor(1))
    assert tree(moved) == before


def test_repair_with_a_changed_seed_is_refused(folder: Path, source: ListSource) -> None:
    """It would build whatever the changed manifest says, and call that the set."""
    change_settings(folder, seed=1)
    flip(folder / "shard-000001.tar", 3000)
    before = tree(folder)
    with pytest.raises(StampError, match="settings are not those"):
        repair(folder, source, LocalExecutor(1))
    assert tree(folder) == before
    drop_checksum(folder)
    with pytest.raises(StampError, match="settings are not those"):
        repair(folder, source, LocalExecutor(1))


@pytest.mark.parametrize("old", [False, True])
def test_repair_of_a_changed_manifest_whose_settings_are_right(
    pristine: Path, folder: Path, source: ListSource, old: bool
) -> None:
    flip(folder / "shard-000001.tar", 3000)
    if old:
        drop_checksum(folder)
    else:
        path = folder / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b'"licence": "CC0', b'"licence": "XX0'))
    assert mend(folder, source) == (1, True)
    assert tree(folder) == tree(pristine)


def test_repair_counts_anew_what_a_changed_manifest_counts_wrongly(
    pristine: Path, folder: Path, source: ListSource
) -> None:
    path = folder / "manifest.json"
    path.write_bytes(re.sub(rb'"(records|dialogues|targets)": ', rb'"\1": 1', path.read_bytes()))
    assert mend(folder, source) == (4, True)
    assert tree(folder) == tree(pristine)


def test_repair_without_a_manifest_says_what_to_do(folder: Path, source: ListSource) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(StampError, match="goes on where it stopped"):
        repair(folder, source, LocalExecutor(1))


def test_index_rows_follow_from_the_shard_alone(pristine: Path) -> None:
    for name in ("shard-000000.tar", "shard-000003.tar"):
        derived = derive_rows(pristine / name, None)
        stored = rows_of(pristine, name)
        for row in derived:
            row.foreground = float(np.float32(row.foreground))
        assert derived == stored


@pytest.mark.parametrize(
    ("name", "size", "code"),
    [
        ("wids.json", 2 << 30, "file-unreadable"),
        ("rejects.jsonl", 2 << 30, "file-unreadable"),
        ("index.parquet", 1 << 38, "file-unreadable"),
        ("shard-000001.tar", 1 << 39, "tar-padding"),
    ],
)
def test_a_sparse_file_is_not_read_to_its_end(folder: Path, name: str, size: int, code: str) -> None:
    """Within the bounds of a shard: to hash or to read so many zeros takes minutes."""
    os.truncate(folder / name, size)
    assert (name, code) in {(fault.shard, fault.code) for fault in verify_set(folder)}
