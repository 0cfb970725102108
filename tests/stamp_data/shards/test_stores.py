"""Stores: the same bytes from a folder, a web server and fsspec; faults that pass are waited out, the others are one line."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from blake3 import blake3
from xxhash import xxh3_64_intdigest

from stamp_data.shards.members import Damaged, read_members
from stamp_data.shards.stores import LocalStore, Store, StoreFault, base, http, open_store
from stamp_data.shards.stores.cache import ABANDONED, CachedStore, ShardCache
from stamp_data.shards.stores.objects import ObjectStore
from stamp_schemas import StampError, UsageFault

from ...far import asked_at
from ...serving import Handler, serve

DATA = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a b.tar").write_bytes(DATA)
    return tmp_path / "set"


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
    with serve(folder, failures=4) as (url, handler):
        assert open_store(url, patience=2).read("a b.tar", 0, 4) == DATA[:4]
    assert len(handler.requests) == 5


def test_a_server_that_does_not_is_given_up_in_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serve(folder, failures=10**6) as (url, handler):
        began = time.monotonic()
        with pytest.raises(StoreFault, match=r"attempts within 0.5 s failed: 503 .*is the place reachable") as caught:
            open_store(url, patience=0.5).read("a b.tar", 0, 4)
        assert time.monotonic() - began < 5
        assert 3 < len(handler.requests) < 20
    assert "\n" not in str(caught.value)
    assert ["trying again" in record.getMessage() for record in caplog.records] == [True]


def test_retries_come_ever_more_slowly_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clock that only sleeping moves: ten minutes of patience are some thirty attempts, and never two runs of equal waits."""

    def waits() -> list[float]:
        now, slept, store = [0.0], [], Failing(str(tmp_path), 600)

        def wait(seconds: float) -> bool:
            slept.append(seconds)
            now[0] += seconds
            return False

        monkeypatch.setattr(base, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(store, "_hurried", types.SimpleNamespace(wait=wait))
        with pytest.raises(StoreFault, match="within 600 s failed"):
            store.read("x", 0, 1)
        return slept

    first, second = waits(), waits()
    assert first != second
    assert 540 < sum(first) <= 600
    assert 0.25 <= first[0] <= 0.5 and 0.5 <= first[1] <= 1.0 and all(15 <= wait <= 30 for wait in first[6:])


class Failing(LocalStore):
    def _read(self, *_: object) -> bytes:
        raise base.PassingFault("gone")


def test_no_server_at_all(folder: Path) -> None:
    with serve(folder) as (url, _):
        pass
    with pytest.raises(StoreFault, match="ConnectionRefusedError"):
        open_store(url, patience=0.5).size("a b.tar")


def test_retry_after_is_honoured(folder: Path) -> None:
    with serve(folder, failures=1, status=429, headers_of_failures=(("Retry-After", "1"),)) as (url, _):
        began = time.monotonic()
        assert open_store(url, patience=20).read("a b.tar", 0, 4) == DATA[:4]
        assert time.monotonic() - began >= 1
    with serve(folder, failures=1, headers_of_failures=(("Retry-After", "3600"),)) as (url, _):
        began = time.monotonic()
        with pytest.raises(StoreFault, match="asks for a wait of 3,600 s"):
            open_store(url, patience=20).read("a b.tar", 0, 4)
        assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), (" 7 ", 7.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0), (None, 0.0)],
)
def test_what_retry_after_may_say(header: str | None, seconds: float) -> None:
    assert http._seconds(header) == seconds


def test_retry_after_as_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < http._seconds(later) <= 90
    assert http._seconds("Sun, 06 Nov 1994 08:49:37 GMT") == 0.0


def moved(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.say(302, b"", ("Location", target))


def endless(handler: Handler) -> None:
    handler.send_response(206)
    handler.end_headers()
    handler.close_connection = True
    handler.drip(b"x" * 65_536, 5)


def endless_interim(handler: Handler) -> None:
    handler.drip(b"HTTP/1.1 100 Continue\r\n\r\n", 5)


def dripping(handler: Handler) -> None:
    handler.say(206, b"", ("Content-Length", "4"), ("Content-Range", "bytes 0-3/9"))
    time.sleep(3)


def chunked(size: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(size + b"\r\n")
        handler.close_connection = True
        handler.drip(b"x" * 65_536, 2)

    return answer


def raw(text: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(text)
        handler.close_connection = True

    return answer


def ranged(body: bytes, said: str, *more: tuple[str, str]) -> Callable[[Handler], None]:
    return lambda handler: handler.say(206, body, ("Content-Range", said), *more)


CLOSED = ("Connection", "close")
GZIP = ("Content-Encoding", "gzip")
WRONG: dict[str, tuple[Callable[[Handler], None], str]] = {
    "whole": (lambda handler: handler.say(200, b"x" * 10**7), "does not serve ranges"),
    "page": (lambda handler: handler.say(200, b"<html>log in</html>", ("Content-Type", "text/html")), "serve ranges"),
    "forbidden": (lambda handler: handler.say(403, b"<html>no</html>"), "403 Forbidden"),
    "gone": (lambda handler: handler.say(410), "no such file"),
    "too short": (ranged(b"x", "bytes 0-3/9", ("Content-Length", "4"), CLOSED), "IncompleteRead"),
    "too long": (ranged(b"x" * 9, "bytes 0-3/9"), "other bytes than it was asked for"),
    "other range": (ranged(b"xxxx", "bytes 1-4/9"), "other bytes than it was asked for"),
    "half": (ranged(b"xx", "bytes 0-1/9"), "other bytes than it was asked for"),
    "fewer": (ranged(b"xx", "bytes 0-3/9"), "2 bytes came of 4"),
    "no range": (ranged(b"xxxx", "bytes ?"), "other bytes than it was asked for"),
    "gzip": (ranged(b"xxxx", "bytes 0-3/9", GZIP), "compressed .'gzip'"),
    "endless": (endless, "other bytes|attempts within"),
    "interim": (endless_interim, "attempts? within"),
    "dripping": (dripping, "attempts? within"),
    "chunk of -1": (chunked(b"-1"), "attempts? within|other bytes"),
    "chunk without size": (chunked(b"many"), "attempts? within"),
    "loop": (moved("/again"), "more than 5 redirects"),
    "file": (moved("file:///etc/passwd"), "redirects to 'file:///etc/passwd', which is not followed"),
    "ftp": (moved("ftp://127.0.0.1/x"), "which is not followed"),
    "nowhere": (lambda handler: handler.say(302), "redirects to 'nowhere'"),
    "no address": (moved("http://[::1/x"), "which is not followed"),
    "no port": (moved("http://127.0.0.1:port/x"), "not a URL that can be asked"),
    "garbage": (raw(b"220 smtp ready\r\n"), "BadStatusLine"),
    "nothing": (raw(b""), "RemoteDisconnected"),
    "long line": (raw(b"HTTP/1.1 206 OK\r\nX: " + b"y" * 10**6), "LineTooLong"),
    "headers": (raw(b"HTTP/1.1 206 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n"), "more than 100 headers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_web_server_may_do_wrong_is_one_line_and_bounded(name: str, folder: Path) -> None:
    answer, said = WRONG[name]
    with serve(folder, answer=answer) as (url, handler):
        tracemalloc.start()
        began = time.monotonic()
        with pytest.raises(StampError, match=said) as caught:
            open_store(url, patience=1.2).read("a b.tar", 0, 4)  # one attempt can take long where much else is done
        assert time.monotonic() - began < 6
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert len(handler.requests) < 40
    assert peak < 60e6  # of both sides: the largest answer is one of 10 MB


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ((("Content-Length", "many"),), "does not say how long"),
        ((("Content-Length", "-5"),), "does not say how long"),
        ((("Content-Length", "9" * 30),), "does not say how long"),
        ((("Content-Length", "10"), GZIP), "compressed"),
        ((("Content-Length", str(10**15)),), "1,000,000,000,000,000 bytes, more than the"),
    ],
)
def test_lengths_that_are_none(headers: Any, said: str, folder: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.say(200, b"", *headers)

    with serve(folder, answer=answer) as (url, _), pytest.raises(StampError, match=said):
        open_store(url, patience=2).get("a b.tar")


def test_redirects_are_followed(folder: Path) -> None:
    def answer(handler: Handler) -> None:
        if handler.path.startswith("/moved"):
            return handler.say(307, b"", ("Location", "../other/a%20b.tar?signed=yes"))
        assert handler.path == "/other/a%20b.tar?signed=yes"
        first, last = (int(number) for number in handler.headers["Range"].partition("=")[2].split("-"))
        return handler.say(206, DATA[first : last + 1])

    with serve(folder, answer=answer) as (url, _):
        assert open_store(f"{url}/moved/").read("a b.tar", 1, 2) == DATA[1:3]


@pytest.mark.parametrize(
    "url", ["https://user:secret@host/set", "http://host/set?token=1", "http:///set", "http://[::1/set", "http://h/#x"]
)
def test_urls_that_cannot_be_those_of_a_set(url: str) -> None:
    with pytest.raises(UsageFault, match="not the URL of a set") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_proxies_of_the_environment_are_not_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serve(folder) as (url, _):
        assert open_store(url, patience=5).size("a b.tar") == len(DATA)


def test_a_forked_process_opens_its_own_connections(opened: Store) -> None:
    """The parent's connections and file systems do not outlive a fork; a store that is used after one opens them anew."""
    assert opened.size("a b.tar") == len(DATA)
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, opened.read("a b.tar", 3, 5))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert found == DATA[3:8] == opened.read("a b.tar", 3, 5)


def test_an_fsspec_file_system_that_fails_for_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ObjectStore(f"local://{folder}", patience=1)
    files = place._open()[0]
    plain, faults = files.cat_file, [TimeoutError("slow down"), RuntimeError("of its own kind")]

    def cat_file(*arguments: Any, **options: Any) -> bytes:
        if faults:
            raise faults.pop()
        return plain(*arguments, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(files, "cat_file", cat_file)
    assert place.read("a b.tar", 0, 4) == DATA[:4]
    faults[:] = [TimeoutError("slow down\nmore")] * 1000
    with pytest.raises(StoreFault, match="TimeoutError: slow down") as caught:
        ObjectStore(f"local://{folder}", patience=0.1).read("a b.tar", 0, 4)
    assert "\n" not in str(caught.value)
    faults[:] = [PermissionError("Forbidden")]
    with pytest.raises(StoreFault, match="not permitted: PermissionError: Forbidden"):
        place.read("a b.tar", 0, 4)


def test_an_s3_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, asked_at(*silent.getsockname()):
        began = time.monotonic()
        with pytest.raises(StoreFault, match="FSTimeoutError"):
            open_store("s3://bucket/set", patience=0.5).size("a.tar")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_not_read(kind: str, folder: Path) -> None:
    (os.mkfifo if kind == "pipe" else os.mkdir)(folder / "odd.tar")
    with pytest.raises(StampError, match=r"odd\.tar: not a plain file"):
        open_store(folder).size("odd.tar")


def test_file_urls(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x").write_bytes(b"data")
    assert open_store(f"file://{tmp_path}/a%20b").get("x") == b"data"
    with pytest.raises(UsageFault, match="names the machine host"):
        open_store("file://host/set")


def test_a_stale_handle_of_a_network_file_system_is_opened_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, plain, faults = open_store(folder), os.pread, [OSError(errno.ESTALE, "Stale file handle")]

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        if faults:
            raise faults.pop()
        return plain(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert store.read("a b.tar", 0, 4) == DATA[:4]
    faults[:] = [OSError(errno.EIO, "Input/output error")]
    with pytest.raises(StoreFault, match="Input/output error"):
        store.read("a b.tar", 0, 4)


@pytest.mark.parametrize("url", ["nonsense://bucket/set", "abfs://bucket/set", "memory://", "hdfs://host/set"])
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
    with pytest.raises(UsageFault, match=r"cache: may hold 999 bytes, 0\.tar alone has 1,000"):
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
        "import sys, json; from pathlib import Path; from stamp_data.shards.stores import LocalStore; "
        "from stamp_data.shards.stores.cache import CachedStore, ShardCache; folder, cache, digests, seed = sys.argv[1:]; "
        "store = CachedStore(LocalStore(folder), ShardCache(Path(cache), 2000), json.loads(digests))\n"
        "for at in range(60):\n"
        "    number = (at * (1 + 2 * int(seed)) + int(seed)) % 6\n"
        "    assert store.read(f'{number}.tar', at, 900) == bytes([number]) * 900\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "cache"), json.dumps(digests)]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(4)]
    for one in running:
        told = one.communicate()[1].splitlines()
        assert one.returncode == 0, told
        assert all(b"it left the cache, which is too small" in line for line in told)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 2000
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_cached_shard_that_changed_is_downloaded_again(tmp_path: Path) -> None:
    data = bytes(512) + b"some member".ljust(512, b"\0")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.tar").write_bytes(data)
    digest, spans = blake3(data).hexdigest(), [(512, 11, xxh3_64_intdigest(b"some member"))]
    cached = CachedStore(LocalStore(tmp_path / "set"), ShardCache(tmp_path / "cache", 9999), {"0.tar": digest})
    assert read_members(cached, "0.tar", spans) == [b"some member"]
    kept = tmp_path / "cache" / f"{digest}.tar"
    kept.write_bytes(data.replace(b"some", b"somE"))
    assert read_members(cached, "0.tar", spans) == [b"some member"]
    assert kept.read_bytes() == data
    wrong = [(512, 11, 1)]  # of which the cache is not to blame: it is downloaded no third time
    with pytest.raises(Damaged):
        read_members(cached, "0.tar", wrong)


def test_what_killed_downloads_left_makes_room(many: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, digests = many
    cache = ShardCache(tmp_path / "cache", 3500)
    for name, age in (("dead", 2 * ABANDONED), ("alive", 1)):
        part = tmp_path / "cache" / f"{name}.1.part"
        part.write_bytes(b"x" * 1000)
        os.utime(part, (time.time() - age,) * 2)
    cached = CachedStore(LocalStore(folder), cache, digests)
    for number in range(4):
        cached.read(f"{number}.tar", 0, 1)
    assert sorted(path.suffix for path in (tmp_path / "cache").glob("*.*")) == [".part", ".tar", ".tar"]


def test_seekable_files_read_like_files(folder: Path) -> None:
    file = Store.seekable(LocalStore(folder), "a b.tar")
    assert file.read(4) == DATA[:4]
    file.seek(-3, os.SEEK_END)
    assert (file.tell(), file.read(9), file.read(1)) == (len(DATA) - 3, DATA[-3:], b"")
    file.seek(10)
    file.seek(2, os.SEEK_CUR)
    assert file.read(2) == DATA[12:14]
