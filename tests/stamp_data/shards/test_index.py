"""Index and manifest: what was written comes back, and whatever else is there is told in one line."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stamp_data.shards.index import MEMBERS, SCHEMA, IndexRow, read_rows, read_table, write_index
from stamp_data.shards.manifest import find_sets, manifest_bytes, read_manifest, set_digest, wids_bytes
from stamp_schemas import Manifest, Settings, ShardEntry, StampError, Totals
from stamp_schemas.manifest import MANIFEST_SCHEMA

small, large, hashes = st.integers(0, 2**15 - 1), st.integers(0, 2**62), st.integers(0, 2**64 - 1)
medium = st.integers(0, 2**31 - 1)
lists = st.lists(medium, max_size=4)
KINDS = {"grid_height": small, "grid_width": small, "foreground": st.floats(0, 1, width=32)}
KINDS |= {f"{member}_offset": large for member in MEMBERS} | {f"{member}_xxh3": hashes for member in MEMBERS}
KINDS |= dict.fromkeys(("shard", "key", "image_extension"), st.text("abc-019", max_size=9))
KINDS |= dict.fromkeys(("turns", "masks", "text_chars"), lists) | {"text_tokens": st.none() | lists}
rows = st.fixed_dictionaries({name: KINDS.get(name, medium) for name in SCHEMA.names}).map(lambda row: IndexRow(**row))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.lists(rows, min_size=1, max_size=3), min_size=1, max_size=3))
def test_rows_come_back_and_bytes_repeat(tmp_path: Path, shards: list[list[IndexRow]]) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, shards)
    first = path.read_bytes()
    assert read_rows(path.parent) == [row for shard in shards for row in shard]
    assert pq.ParquetFile(path).num_row_groups == len(shards)
    write_index(path, shards)
    assert path.read_bytes() == first


@settings(deadline=None, max_examples=40)
@given(st.lists(rows, min_size=1, max_size=20))
def test_columns_are_those_that_pyarrow_would_make(
    tmp_path_factory: pytest.TempPathFactory, shard: list[IndexRow]
) -> None:
    path = tmp_path_factory.mktemp("index") / "index.parquet"
    write_index(path, [shard])
    columns = {name: [getattr(row, name) for row in shard] for name in SCHEMA.names}
    assert pq.read_table(path).equals(pa.table(columns, schema=SCHEMA))


def test_writing_does_without_pandas(tmp_path: Path) -> None:
    """pyarrow imports it where it is installed, which takes as long as rendering four hundred records."""
    code = (
        "import sys, pickle, pathlib\n"
        "from stamp_data.shards.index import write_index\n"
        "write_index(pathlib.Path(sys.argv[1]), pickle.load(sys.stdin.buffer))\n"
        "sys.exit('pandas' in sys.modules)"
    )
    path = tmp_path / "index.parquet"
    subprocess.run([sys.executable, "-c", code, str(path)], input=pickle.dumps([[row()]]), check=True)
    assert read_rows(path.parent) == [row()]


def row(**changes: object) -> IndexRow:
    values: dict[str, object] = dict.fromkeys(SCHEMA.names, 0)
    values |= {"shard": "shard-000000.tar", "key": "a-0", "image_extension": "png", "foreground": 0.5}
    values |= {"turns": [2], "masks": [1], "text_chars": [9], "text_tokens": None, "json_bytes": 7} | changes
    return msgspec.convert(values, IndexRow)


def test_members_of_a_row() -> None:
    assert row().members == ["json"]
    full = row(image_bytes=1, image_offset=512, image_xxh3=3, labels_bytes=2)
    assert full.members == list(MEMBERS)
    assert [full.member_name(member) for member in MEMBERS] == ["a-0.png", "a-0.json", "a-0.labels.npy"]
    assert full.span("image") == (512, 1, 3)


def test_some_columns(tmp_path: Path) -> None:
    write_index(tmp_path / "index.parquet", [[row()]])
    assert read_table(tmp_path, ["key", "masks"]).to_pylist() == [{"key": "a-0", "masks": [1]}]


def test_columns_of_others_are_left_out(tmp_path: Path) -> None:
    write_index(tmp_path / "index.parquet", [[row()]])
    table = pq.read_table(tmp_path / "index.parquet")
    pq.write_table(table.append_column("note", pa.array([1])), tmp_path / "index.parquet")
    assert read_table(tmp_path).column_names == SCHEMA.names


def test_a_column_that_lacks_values_is_told(tmp_path: Path) -> None:
    write_index(tmp_path / "index.parquet", [[row()]])
    table = pq.read_table(tmp_path / "index.parquet")
    place = table.column_names.index("key")
    nothing = pa.array([None], pa.string())
    pq.write_table(table.set_column(place, pa.field("key", pa.string()), nothing), tmp_path / "index.parquet")
    with pytest.raises(StampError, match="column 'key' lacks values"):
        read_table(tmp_path)


def test_what_is_no_index_is_told(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    with pytest.raises(StampError, match="no such file"):
        read_rows(path.parent)
    path.write_bytes(b"PAR1 and then something else")
    with pytest.raises(StampError, match="not a readable index"):
        read_rows(path.parent)
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(StampError, match="'shard' is missing"):
        read_rows(path.parent)
    write_index(path, [[row()]])
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "row", pa.array([0], pa.int64())), path)
    with pytest.raises(StampError, match="'row' is missing or of another type"):
        read_rows(path.parent)


# --- manifest --------------------------------------------------------------------------------------------------------


def entry(number: int, digest: str) -> ShardEntry:
    return ShardEntry(f"shard-{number:06d}.tar", 10_240, 3, 5, 4, digest, "t" * 64)


def manifest(shards: list[ShardEntry]) -> Manifest:
    return Manifest(
        schema=MANIFEST_SCHEMA,
        name="tiny/train",
        digest=set_digest(shards),
        settings=Settings("tiny", "", "train"),
        generator={"name": "test"},
        licence="CC0-1.0",
        homepage="https://example.org/π",
        inputs=[],
        shards=shards,
        totals=Totals(),
        files={},
    )


def test_manifest_comes_back(tmp_path: Path) -> None:
    made, folder = manifest([entry(0, "a"), entry(1, "b")]), tmp_path / "tiny" / "train"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(manifest_bytes(made))
    assert read_manifest(folder) == made
    assert json.loads(manifest_bytes(made))["homepage"] == "https://example.org/π"
    assert [one.place for one in find_sets(tmp_path)] == [str(folder)]


def test_the_set_s_digest_is_of_its_content_not_of_names_or_order() -> None:
    one = [entry(0, "a"), entry(1, "b")]
    assert set_digest(one) == set_digest([entry(7, "b"), entry(3, "a")])
    assert set_digest(one) != set_digest([entry(0, "a"), entry(1, "c")])
    assert set_digest(one) != set_digest([entry(0, "a")])


def test_no_damage_to_a_manifest_gets_past_as_a_traceback(tmp_path: Path) -> None:
    whole, chance = manifest_bytes(manifest([entry(0, "a")])), random.Random(3)
    refused = 0
    for _ in range(300):
        at = chance.randrange(len(whole))
        broken = whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :] if chance.random() < 0.8 else whole[:at]
        (tmp_path / "manifest.json").write_bytes(broken)
        try:
            read_manifest(tmp_path)
        except StampError:
            refused += 1
    assert refused > 100


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    with pytest.raises(StampError, match="here or below"):
        find_sets(tmp_path)
    with pytest.raises(StampError, match="no such folder"):
        find_sets(tmp_path / "nothing")


def test_wids_lists_every_shard() -> None:
    listing = json.loads(wids_bytes("tiny/train", [entry(0, "a"), entry(1, "b")]))
    assert listing["__kind__"] == "wids-shard-index-v1"
    assert [(shard["url"], shard["nsamples"]) for shard in listing["shardlist"]] == [
        ("shard-000000.tar", 3),
        ("shard-000001.tar", 3),
    ]
    assert np.array([shard["filesize"] for shard in listing["shardlist"]]).sum() == 20_480


def test_reading_an_index_leaves_no_thread_of_arrows_behind(tmp_path: Path) -> None:
    """A thread that lets go of a Python file while the interpreter ends takes the process down ("terminate called")."""
    row = IndexRow(**{name: _plain(SCHEMA.field(name).type) for name in IndexRow.__struct_fields__})
    write_index(tmp_path / "index.parquet", [[row] * 1000] * 4)
    code = (
        "import os, sys; from pathlib import Path; from stamp_data.shards.index import read_table\n"
        "before = len(os.listdir('/proc/self/task')); read_table(Path(sys.argv[1]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def _plain(kind: pa.DataType) -> object:
    """A value of a column's type."""
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else 0
