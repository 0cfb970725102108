"""Random access: every record by row or key, every byte checked, every fault named."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from stamp_data.shards.index import write_index
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import LocalStore
from stamp_schemas import StampError

from ..making import ListSource, assorted, build, pictured


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ListSource:
    return assorted(tmp_path_factory.mktemp("raw"), 15)


@pytest.fixture(scope="module")
def pristine(source: ListSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("out"), passes=2)


def test_everything_is_there_once(source: ListSource, pristine: Path) -> None:
    with ShardSet(pristine) as shards:
        assert len(shards) == len(shards.rows) == 15
        loaded = {str(one.record.source.image_id): one for one in shards}
        assert set(loaded) == {annotation.id for annotation in source._annotations}
        for annotation in source._annotations:
            one = loaded[annotation.id]
            assert one.row == shards.find(one.record.key)
            if annotation.image is None:
                assert one.image is None and one.record.grid is None
            else:
                assert one.image == (source.root / annotation.image.path).read_bytes()
            if annotation.requests:
                assert one.labels is not None and one.labels.shape == (3, one.row.grid_height, one.row.grid_width)
                assert len(one.record.dialogues) == 2 * len(annotation.requests)
            else:
                assert one.labels is None and [len(talk.messages) for talk in one.record.dialogues] == [4]


def test_few_files_stay_open(pristine: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ShardSet(LocalStore(pristine, open_files=2)) as shards:
        first = [shards.member(row, "json") for row in shards.rows]
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 2
        assert [shards.member(row, "json") for row in reversed(shards.rows)] == first[::-1]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_damage_is_named_and_the_rest_still_reads(pristine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "set"))
    with ShardSet(folder) as shards:
        row = next(row for row in shards.rows if row.targets)
        path = folder / row.shard
        data = bytearray(path.read_bytes())
        data[row.labels_offset + 130] ^= 1
        path.write_bytes(data)
        with pytest.raises(StampError, match=rf"{row.shard}: {row.key}\.labels\.npy is damaged") as caught:
            shards.load(row)
        assert "--repair" in caught.value.hint
        assert shards.record(row).key == row.key


def test_records_that_are_none(pristine: Path, tmp_path: Path) -> None:
    """The index can be right about bytes that are no record."""
    folder = Path(shutil.copytree(pristine, tmp_path / "set"))
    with ShardSet(folder) as shards:
        rows = shards.rows
        picture = next(row for row in rows if row.image_bytes)
        picture.json_offset, picture.json_bytes, picture.json_xxh3 = picture.span("image")
        write_index(folder / "index.parquet", [rows])
    with ShardSet(folder) as again, pytest.raises(StampError, match=r"\.json is no record"):
        again.record(again.find(picture.key))


def test_missing_things(pristine: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pristine, tmp_path / "set"))
    with ShardSet(folder) as shards:
        with pytest.raises(StampError, match="no record 'nobody'"):
            shards.find("nobody")
        row = shards.rows[0]
        (folder / row.shard).unlink()
        with pytest.raises(StampError, match="no such file"):
            shards.load(row)
    (folder / "manifest.json").unlink()
    with pytest.raises(StampError, match="same build command"):
        ShardSet(folder)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 4), np.uint8), np.zeros((1, 2, 3), np.int16), np.array([None], dtype=object)],
    ids=["shape", "type", "pickled"],
)
def test_labels_of_another_kind_are_refused(pristine: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    with ShardSet(pristine) as shards:
        row = next(row for row in shards.rows if row.targets)
        for data in (buffer.getvalue(), buffer.getvalue()[:20], b""):
            with pytest.raises(StampError, match=rf"{row.key}\.labels\.npy"):
                parse_labels(data, row.labels_shape, row.member_name("labels"))


def test_the_same_annotations_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    """Records are placed by their keys, not by the order in which a source has them."""
    folders = []
    for name, numbers in (("one", range(9)), ("two", reversed(range(9)))):
        root = tmp_path / name
        folders.append(build(ListSource(root / "raw", [pictured(root / "raw", n) for n in numbers]), root / "out"))
    for path in folders[0].glob("*.tar"):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
    assert (folders[0] / "index.parquet").read_bytes() == (folders[1] / "index.parquet").read_bytes()
