"""A shard is there whole or not at all, and equal members give equal bytes."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from stamp_data.shards.writer import BLOCK, STRIDE, ShardWriter
from stamp_data.writing import write_atomic

MEMBERS = [("a.jpg", b"\xff\xd8" * 700), ("a.json", b"{}"), ("b.json", b""), ("b.labels.npy", bytes(512))]


def write(path: Path, members: list[tuple[str, bytes]] = MEMBERS) -> ShardWriter:
    with ShardWriter(path) as writer:
        for name, data in members:
            writer.add(name, data)
    return writer


def test_size_and_digest_are_the_file_s(tmp_path: Path) -> None:
    path = tmp_path / "shard-000000.tar"
    writer = write(path)
    assert writer.size == path.stat().st_size
    assert writer.digest == blake3(path.read_bytes()).hexdigest()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_members_lie_where_their_spans_say(tmp_path: Path, contents: list[bytes]) -> None:
    path = tmp_path / "shard.tar"
    with ShardWriter(path) as writer:
        spans = [writer.add(f"{number}.json", data) for number, data in enumerate(contents)]
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    assert [(span.offset, span.size) for span in spans] == [(member.offset_data, member.size) for member in members]
    for span, data in zip(spans, contents, strict=True):
        assert whole[span.offset : span.offset + span.size] == data
        assert span.xxh3 == xxh3_64_intdigest(data)


def test_blocks_go_out_while_the_shard_is_made(tmp_path: Path) -> None:
    """More than is kept waiting, and more than what the disk is told of at a time, in members below and above a block."""
    path = tmp_path / "shard.tar"
    contents = [os.urandom(size) for size in (10, BLOCK - 512, 1, 2 * BLOCK, STRIDE + 7, 513)]
    with ShardWriter(path) as writer:
        for number, data in enumerate(contents):
            writer.add(f"{number}.jpg", data)
        (part,) = tmp_path.iterdir()
        assert part.stat().st_size > STRIDE
    with tarfile.open(path) as archive:
        assert [archive.extractfile(member).read() for member in archive] == contents  # type: ignore[union-attr]  # None for what is no file
    assert writer.digest == blake3(path.read_bytes()).hexdigest()


def test_bytes_depend_on_nothing_but_the_members(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, other = tmp_path / "one.tar", tmp_path / "elsewhere" / "other.tar"
    write(one)
    old_mask = os.umask(0o077)
    try:
        write(other)
    finally:
        os.umask(old_mask)
    os.utime(one, (0, 0))
    assert one.read_bytes() == other.read_bytes()


def test_an_exception_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(b"old")
    with contextlib.suppress(KeyError), ShardWriter(path) as writer:
        writer.add(*MEMBERS[0])
        raise KeyError
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_bad_name_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="characters"), ShardWriter(tmp_path / "shard.tar") as writer:
        writer.add("k" * 200, b"")
    assert not list(tmp_path.iterdir())


def test_nothing_has_the_final_name_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with ShardWriter(path) as writer:
        for name, data in MEMBERS:
            writer.add(name, data)
            assert not path.exists()
    assert path.exists()


FILLING = """
    import os, resource, sys
    from pathlib import Path
    from stamp_data.shards.writer import ShardWriter
    from stamp_data.writing import write_atomic
    limit, small, path = int(sys.argv[1]), sys.argv[2] == "small", Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        if small:
            write_atomic(path, bytes(50_000))
        else:
            with ShardWriter(path) as writer:
                for number in range(5):
                    writer.add(f"{number}.json", bytes(int(sys.argv[4])))
    except OSError as fault:
        print(type(fault).__name__, len(os.listdir(path.parent)), path.exists())
"""


def fill(path: Path, limit: int, kind: str, size: int) -> str:
    """What a process says that may write files of `limit` bytes, and tries members of `size` bytes."""
    command = [sys.executable, "-c", textwrap.dedent(FILLING), str(limit), kind, str(path), str(size)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("kind", ["shard", "small"])
@pytest.mark.parametrize("limit", [0, 100, 9_700, 20_000, 47_600, 49_999])
def test_no_room_leaves_nothing(tmp_path: Path, kind: str, limit: int) -> None:
    """The system stops writing in the middle of a member, between two, or in the end blocks; nothing stays behind."""
    folder = tmp_path / "out"
    folder.mkdir()
    assert fill(folder / "shard.tar", limit, kind, 9_000).split() == ["OSError", "0", "False"]


@pytest.mark.parametrize("limit", [0, 700_000, 1_400_000, 1_505_279])
def test_no_room_for_all_blocks(tmp_path: Path, limit: int) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert fill(folder / "shard.tar", limit, "shard", 300_000).split() == ["OSError", "0", "False"]


@pytest.mark.parametrize(("size", "whole"), [(9_000, 51_200), (300_000, 1_505_280)])
def test_just_enough_room(tmp_path: Path, size: int, whole: int) -> None:
    assert fill(tmp_path / "shard.tar", whole, "shard", size) == ""
    assert (tmp_path / "shard.tar").stat().st_size == whole


def test_small_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
