"""Stores: the same bytes from a folder, a web server and fsspec; faults that pass are waited out, the others are one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from blake3 import blake3

from stamp_schemas import StampError, UsageFault
from stamp_train.stream import http, store
from stamp_train.stream.cache import CachedStore, ShardCache
from stamp_train.stream.store import FsspecStore, LocalStore, Store, open_store

from .making import serve

DATA = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a b.tar").write_bytes(DATA)
    return tmp_path / "set"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FIRST_WAIT", 0.001)


@pytest.fixture(params=["local", "file", "http", "fsspec"])
def opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[Store]:
    """The same folder behind each kind of store."""
    if request.param == "http":
        with serve(folder) as (url, _):
            yield open_store(url)
    elif request.param == "fsspec":
        memory = fsspec.filesystem("memory")
        memory.pipe_file("/set/a b.tar", DATA)
        yield open_store("memory://set")
    else:
        yield open_store(folder if request.param == "local" else f"file://{folder}")


def test_every_store_reads_ranges(opened: Store) -> None:
    assert opened.read("a b.tar", 3, 5) == DATA[3:8]
    assert opened.read("a b.tar", len(DATA) - 2, 2) == DATA[-2:]
    assert opened.read("a b.tar", 7, 0) == b""
    assert opened.size("a b.tar") == len(DATA)
    assert opened.get("a b.tar") == DATA


def test_every_store_says_what_is_not_there(opened: Store) -> None:
    with pytest.raises(StampError, match=r"nothing\.tar: no such file"):
        opened.read("nothing.tar", 0, 1)
    with pytest.raises(StampError, match=r"nothing\.tar: no such file"):
        opened.size("nothing.tar")
    with pytest.raises(StampError, match="ends at byte 10,240, before byte 10,250"):
        opened.read("a b.tar", len(DATA) - 10, 20)
    with pytest.raises(StampError):
        opened.read("a b.tar", len(DATA) + 10, 20)


def test_threads_may_share_a_store(opened: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: opened.read("a b.tar", at, 16), range(0, 1024, 16)))
    assert b"".join(found) == DATA[:1024]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_are_closed_again(folder: Path) -> None:
    names = [f"{number}.tar" for number in range(20)]
    for name in names:
        (folder / name).write_bytes(b"x")
    before = open_files()
    small = LocalStore(folder, open_files=3)
    thread = threading.Thread(target=small.read, args=("0.tar", 0, 1))
    thread.start()
    thread.join()
    assert open_files() == before
    assert [small.read(name, 0, 1) for name in names] == [b"x"] * 20
    assert open_files() == before + 3
    del small
    assert open_files() == before


def test_a_server_that_recovers_is_waited_for(folder: Path) -> None:
    with serve(folder, failures=store.ATTEMPTS - 1) as (url, _):
        assert open_store(url).read("a b.tar", 0, 4) == DATA[:4]


def test_a_server_that_does_not_is_given_up_in_one_line(folder: Path) -> None:
    with serve(folder, failures=10**6) as (url, handler):
        with pytest.raises(StampError, match=r"5 attempts failed: 503 .*is the store reachable") as caught:
            open_store(url).read("a b.tar", 0, 4)
        assert len(handler.requests) == store.ATTEMPTS
    assert "\n" not in str(caught.value)


def test_no_server_at_all(folder: Path) -> None:
    with serve(folder) as (url, _):
        pass
    with pytest.raises(StampError, match="5 attempts failed: ConnectionRefusedError"):
        open_store(url).size("a b.tar")


def test_a_server_without_ranges_is_said_to_be_one(folder: Path) -> None:
    with serve(folder, ranges=False) as (url, _), pytest.raises(StampError, match="does not serve ranges"):
        open_store(url).read("a b.tar", 0, 4)


def test_redirects_are_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(folder) as (url, _):
        plain = http.HttpStore._send

        def send(self: Any, method: str, target: str, headers: dict[str, str]) -> Any:
            response, body = plain(self, method, target.replace("/moved/", "/"), headers)
            if "/moved/" in target:
                response.status = 302
                response.headers["Location"] = "../a%20b.tar"
            return response, body

        monkeypatch.setattr(http.HttpStore, "_send", send)
        assert open_store(f"{url}/moved/").read("a b.tar", 1, 2) == DATA[1:3]


def test_an_fsspec_file_system_that_fails_for_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = FsspecStore(f"local://{folder}")
    plain, faults = place._files.cat_file, [TimeoutError("slow down"), RuntimeError("of its own kind")]

    def cat_file(*arguments: Any, **options: Any) -> bytes:
        if faults:
            raise faults.pop()
        return plain(*arguments, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(place._files, "cat_file", cat_file)
    assert place.read("a b.tar", 0, 4) == DATA[:4]
    faults[:] = [TimeoutError("slow down")] * store.ATTEMPTS
    with pytest.raises(StampError, match="TimeoutError: slow down"):
        place.read("a b.tar", 0, 4)


@pytest.mark.parametrize("url", ["nonsense://bucket/set", "abfs://bucket/set"])
def test_a_protocol_that_is_not_installed(url: str) -> None:
    with pytest.raises(UsageFault, match=url):
        open_store(url)


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Six shards of 1,000 bytes, and their digests."""
    folder, digests = tmp_path / "many", {}
    folder.mkdir()
    for number in range(6):
        data = bytes([number]) * 1000
        (folder / f"{number}.tar").write_bytes(data)
        digests[f"{number}.tar"] = blake3(data).hexdigest()
    return folder, digests


def test_a_cached_shard_is_downloaded_once(many: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, digests = many
    with serve(folder) as (url, handler):
        cached = CachedStore(open_store(url), ShardCache(tmp_path / "cache", 10_000), digests)
        for at in (0, 500, 998):
            assert cached.read("3.tar", at, 2) == b"\3\3"
        assert cached.size("3.tar") == 1000
        assert [line.split()[0] for line in handler.requests] == ["HEAD", "GET"]
    assert cached.read("3.tar", 7, 2) == b"\3\3"  # without the server
    assert [path.name for path in (tmp_path / "cache").glob("*.tar")] == [f"{digests['3.tar']}.tar"]


def test_the_cache_keeps_its_limit_and_what_was_used_last(many: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, digests = many
    cache = ShardCache(tmp_path / "cache", 3500)
    cached = CachedStore(LocalStore(folder), cache, digests)
    for age, number in enumerate((0, 1, 2)):
        cached.read(f"{number}.tar", 0, 1)
        os.utime(tmp_path / "cache" / f"{digests[f'{number}.tar']}.tar", (1000 + age, 1000 + age))
    CachedStore(LocalStore(folder), cache, digests).read("0.tar", 0, 1)  # used again
    cached.read("5.tar", 0, 1)
    there = {path.stem for path in (tmp_path / "cache").glob("*.tar")}
    assert there == {digests[f"{number}.tar"] for number in (0, 2, 5)}
    assert CachedStore(LocalStore(folder), cache, digests).read("1.tar", 9, 3) == b"\1\1\1"


def test_a_cache_smaller_than_a_shard_is_refused(many: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    cached = CachedStore(LocalStore(many[0]), ShardCache(tmp_path / "cache", 999), many[1])
    with pytest.raises(UsageFault, match=r"may hold 999 bytes, 0\.tar alone has 1,000"):
        cached.read("0.tar", 0, 1)


def test_a_download_that_is_not_the_shard_is_not_kept(many: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, digests = many
    (folder / "0.tar").write_bytes(b"\1" * 1000)
    cached = CachedStore(LocalStore(folder), ShardCache(tmp_path / "cache", 9999), digests)
    with pytest.raises(StampError, match=r"0\.tar: is not the shard that the manifest names"):
        cached.read("0.tar", 0, 1)
    assert list((tmp_path / "cache").glob("*.tar*")) == []


def test_processes_share_a_cache(many: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Four readers of six shards, with room for two: nobody ever reads a wrong or a half-written file."""
    folder, digests = many
    code = (
        "import sys, json; from pathlib import Path; from stamp_train.stream.cache import CachedStore, ShardCache; "
        "from stamp_train.stream.store import LocalStore; folder, cache, digests, seed = sys.argv[1:]; "
        "store = CachedStore(LocalStore(folder), ShardCache(Path(cache), 2000), json.loads(digests))\n"
        "store.wait = 0.001\n"
        "for at in range(60):\n"
        "    number = (at * (1 + 2 * int(seed)) + int(seed)) % 6\n"
        "    assert store.read(f'{number}.tar', at, 900) == bytes([number]) * 900\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "cache"), json.dumps(digests)]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(4)]
    assert [(one.communicate()[1], one.returncode) for one in running] == [(b"", 0)] * 4
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 2000
    assert not list((tmp_path / "cache").glob("*.part"))


def test_seekable_files_read_like_files(folder: Path) -> None:
    file = Store.seekable(LocalStore(folder), "a b.tar")
    assert file.read(4) == DATA[:4]
    file.seek(-3, os.SEEK_END)
    assert (file.tell(), file.read(9), file.read(1)) == (len(DATA) - 3, DATA[-3:], b"")
    file.seek(10)
    file.seek(2, os.SEEK_CUR)
    assert file.read(2) == DATA[12:14]
