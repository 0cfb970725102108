"""Records: what is read is what was built, and everything that can be wrong with a set is said in one line."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from stamp_data import pixels
from stamp_data.pixels import decode_picture
from stamp_data.shards.index import SCHEMA
from stamp_data.shards.manifest import INDEX, MANIFEST
from stamp_data.shards.members import BadRecord, parse
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.set_index import SetIndex
from stamp_schemas import StampError
from stamp_train.stream.mixture import Mixture
from stamp_train.stream.plan import Plan

from ...serving import serve

Copy = Callable[[str], Path]


def read_everything(folder: Path | str) -> None:
    one = SetIndex(str(folder))
    for shard, entry in enumerate(one.shards):
        for row in range(entry.records):
            one.parsed(shard, row)


@pytest.mark.parametrize("name", ["refcoco", "llava"])
def test_every_record_is_read_as_it_was_built(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    one = SetIndex(folder)
    numbers = {entry.path: number for number, entry in enumerate(one.shards)}
    with ShardSet(Path(folder)) as shards:
        for row in shards.rows:
            found = one.parsed(numbers[row.shard], row.row)
            expected = shards.load(row)
            assert found.record == expected.record
            assert bytes(found.image) == (expected.image or b"")
            assert (found.labels is None) == (expected.labels is None)
            assert found.labels is None or np.array_equal(found.labels, expected.labels)
            assert one.key(numbers[row.shard], row.row) == row.key


def test_a_record_is_one_ranged_read(refcoco: str) -> None:
    with serve(Path(refcoco)) as (url, handler):
        one = SetIndex(url)
        one.shard_rows([0])
        one.raw(0, 1)
        handler.requests = ()
        one.raw(0, 2)
        assert len(handler.requests) == 1
        assert "bytes=" in handler.requests[0]


# --- what can be wrong with a set ------------------------------------------------------------------------------------


def cut_shard(folder: Path) -> None:
    shard = sorted(folder.glob("*.tar"))[1]
    shard.write_bytes(shard.read_bytes()[:-20_000])


def cut_at_member(folder: Path) -> None:
    """Ends right after a record: a whole tar to whoever does not know how long it was."""
    one = SetIndex(str(folder))
    offset, size, _ = one.shard(1).spans[2][-1].tolist()
    shard = folder / one.shards[1].path
    end = offset + size
    shard.write_bytes(shard.read_bytes()[: end + -end % 512] + bytes(1024))


def remove_shard(folder: Path) -> None:
    sorted(folder.glob("*.tar"))[1].unlink()


def swap_shards(folder: Path) -> None:
    """Two tars of equal length in each other's place: nothing is damaged, but the index is not of this tar."""
    first, second = sorted(folder.glob("*.tar"))[:2]
    size = max(first.stat().st_size, second.stat().st_size)
    one, other = (path.read_bytes().ljust(size, b"\0") for path in (first, second))
    first.write_bytes(other)
    second.write_bytes(one)
    edit_manifest(folder, lambda m: [shard.update(bytes=size) for shard in m["shards"][:2]])


def edit_manifest(folder: Path, change: Callable[[dict[str, list[dict[str, object]]]], object]) -> None:
    """As by a program that knows no checksum."""
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    del manifest["checksum"]
    change(manifest)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def other_manifest(folder: Path) -> None:
    edit_manifest(folder, lambda m: m.update(schema="stamp.manifest/2"))  # type: ignore[arg-type]


def other_record(folder: Path) -> None:
    """Records of another version, properly indexed."""
    from xxhash import xxh3_64_intdigest

    table = pq.read_table(folder / INDEX).to_pydict()
    for shard in folder.glob("*.tar"):
        data = bytearray(shard.read_bytes().replace(b"stamp.record/1", b"stamp.record/2"))
        shard.write_bytes(data)
        for at, name in enumerate(table["shard"]):
            if name == shard.name:
                offset, size = table["json_offset"][at], table["json_bytes"][at]
                table["json_xxh3"][at] = xxh3_64_intdigest(bytes(data[offset : offset + size]))
    write_table(folder, table)


def write_table(folder: Path, columns: dict[str, list[object]]) -> None:
    import pyarrow as pa

    table = pa.table(columns, schema=SCHEMA)
    names = columns["shard"]
    with pq.ParquetWriter(folder / INDEX, SCHEMA) as writer:
        for name in dict.fromkeys(names):
            places = [at for at, one in enumerate(names) if one == name]
            writer.write_table(table.take(places))


def other_index(folder: Path) -> None:
    """An index that has one dialogue more than the manifest."""
    table = pq.read_table(folder / INDEX).to_pydict()
    table["dialogues"][0] += 1
    write_table(folder, table)


def one_row_group(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / INDEX), folder / INDEX)


def fewer_columns(folder: Path) -> None:
    table = pq.read_table(folder / INDEX)
    with pq.ParquetWriter(folder / INDEX, table.drop_columns("masks").schema) as writer:
        for entry in SetIndex(str(folder)).shards:
            rows = [at for at, name in enumerate(table["shard"].to_pylist()) if name == entry.path]
            writer.write_table(table.take(rows).drop_columns("masks"))


def no_index(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"PAR1 but nothing more PAR1")


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def broken_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-30])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut_shard, r"shard-000001\.tar: [\d,]+ bytes, the manifest says [\d,]+ \(cut off\?"),
        (cut_at_member, r"shard-000001\.tar: [\d,]+ bytes, the manifest says [\d,]+ \(cut off\?"),
        (remove_shard, r"shard-000001\.tar: no such file"),
        (swap_shards, r"shard-000000\.tar: the index has refcoco\S+ at byte 512, the tar has 'refcoco"),
        (other_manifest, r"is of schema 'stamp\.manifest/2', this version reads 'stamp\.manifest/1'"),
        (other_record, r"records are of schema 'stamp\.record/2', this version reads 'stamp\.record/1'"),
        (other_index, r"index\.parquet and manifest\.json disagree: shard-000000\.tar has \d+ dialogues"),
        (one_row_group, r"disagree: 1 row groups for \d+ shards"),
        (fewer_columns, r"index\.parquet: column 'masks' is missing"),
        (no_index, r"index\.parquet: not a readable index"),
        (no_manifest, r"no manifest\.json"),
        (broken_manifest, r"manifest\.json: not a manifest"),
    ],
)
def test_a_set_at_fault_is_told_in_one_line(
    refcoco: str, copy_of: Copy, harm: Callable[[Path], None], message: str
) -> None:
    folder = copy_of(refcoco)
    read_everything(folder)
    harm(folder)
    with pytest.raises(StampError, match=message) as caught:
        read_everything(folder)
    assert "\n" not in str(caught.value)


def test_the_same_over_http(refcoco: str, copy_of: Copy) -> None:
    folder = copy_of(refcoco)
    cut_at_member(folder)
    with serve(folder) as (url, _), pytest.raises(StampError, match=r"000001\.tar: [\d,]+ bytes, the manifest says"):
        read_everything(url)


@pytest.mark.parametrize("member", [0, 1, 2])
def test_a_flipped_bit_is_found_in_every_member(refcoco: str, copy_of: Copy, member: int) -> None:
    folder = copy_of(refcoco)
    one = SetIndex(str(folder))
    offset, size, _ = one.shard(0).spans[3][member].tolist()
    flip(folder / one.shards[0].path, offset + size // 2)
    one.raw(0, 2)
    with pytest.raises(BadRecord, match="bytes differ from the index") as caught:
        one.raw(0, 3)
    assert caught.value.reason == "damaged"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 8
    path.write_bytes(data)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4), np.uint8), np.zeros((1, 3, 5), np.uint8), np.zeros((1, 3, 4), np.int8)]
)
def test_labels_of_another_shape_or_type_are_refused(refcoco: str, array: npt.NDArray[np.generic]) -> None:
    one = SetIndex(refcoco)
    raw = one.raw(0, 0)
    with pytest.raises(BadRecord, match="not an array of uint8"):
        parse(raw.image, raw.json, saved(array))
    with pytest.raises(BadRecord, match="not an array of uint8"):
        parse(raw.image, raw.json, raw.labels[:-1])


def saved(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_records_are_parsed_in_threads_at_a_time(refcoco: str) -> None:
    """numpy's own reader of .npy fails at this, once in some thousand times (CPython issue 106905)."""
    raw = SetIndex(refcoco).raw(0, 0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: parse(*raw).labels, range(4000)))
    assert all(np.array_equal(one, found[0]) for one in found)


def test_opening_and_planning_read_no_tar(refcoco: str, copy_of: Copy) -> None:
    folder = copy_of(refcoco)
    expected = Plan([refcoco]).batch(0).digest
    for shard in folder.glob("*.tar"):
        shard.unlink()
    assert Plan([str(folder)], Mixture(passes=(1,))).batch(0).digest == expected


def test_both_decoders_make_the_same_of_the_sets_own_pictures(refcoco: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    one = SetIndex(refcoco)
    images = [one.raw(shard, row).image for shard in range(2) for row in range(one.shards[shard].records)]
    first = [np.asarray(decode_picture(image)) for image in images]
    monkeypatch.setattr(pixels, "_simplejpeg", lambda: None)
    assert all(np.array_equal(a, np.asarray(decode_picture(b))) for a, b in zip(first, images, strict=True))


def test_the_stream_is_imported_without_torch() -> None:
    code = (
        "import pkgutil, sys, importlib, stamp_train.stream as stream\n"
        "print(sorted({'torch', 'transformers', 'webdataset', 'fsspec'} & set(sys.modules)))\n"
        "for module in pkgutil.iter_modules(stream.__path__, 'stamp_train.stream.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(sorted({'transformers', 'webdataset'} & set(sys.modules)))\n"
        "print(sorted(name for name in sys.modules if name.startswith('stamp_data.sources')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]", "[]"]
