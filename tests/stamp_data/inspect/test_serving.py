"""The server when much is asked of it at once, and when it is to end while much is still asked."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from stamp_data.inspect import view_cache
from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.record_page import record_view
from stamp_data.inspect.search_index import Query
from stamp_data.inspect.selection import DEFAULT, select
from stamp_data.inspect.server import Gallery, open_server
from stamp_data.inspect.view_cache import ViewCache
from stamp_schemas import StampError

from ..making import assorted, build

PAGES, RECORDS = 30, 48


@pytest.fixture(scope="module")
def large_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three pages."""
    home = tmp_path_factory.mktemp("large")
    return build(assorted(home / "raw", 3 * RECORDS), home / "out", shard_records=RECORDS)


def ask(address: str, path: str) -> bytes:
    """The body of an answer; the test fails if it is not 200."""
    there = urlsplit(address)
    connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=30)
    try:
        connection.request("GET", there.path + path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()
    finally:
        connection.close()


def test_what_thirty_ask_for_at_once_is_made_once(large_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty times the first page, and thirty times all three, in all 1,440 and 4,320 records."""
    made: Counter[str] = Counter()

    def counted(stats: Any, *more: Any) -> Any:
        made[stats.record.key] += 1
        return record_view(stats, *more)

    monkeypatch.setattr(view_cache, "record_view", counted)
    gallery = Gallery([large_set])
    monkeypatch.setattr(gallery.index, "_keep", lambda _: None)  # nothing is made unasked
    server = open_server(gallery)
    thread = threading.Thread(target=server.run)
    thread.start()
    gallery.index.start()
    while not gallery.index.done:
        time.sleep(0.01)
    try:
        with ThreadPoolExecutor(PAGES) as pool:
            pages = list(pool.map(lambda _: ask(server.address, "api/records?cursor=0"), range(PAGES)))
            assert len(set(pages)) == 1
            assert len(json.loads(pages[0])["records"]) == RECORDS == len(made)
            cursors = [RECORDS * (number % 3) for number in range(PAGES)]
            pages = list(pool.map(lambda cursor: ask(server.address, f"api/records?cursor={cursor}"), cursors))
        assert len(set(pages)) == 3
        assert len(made) == 3 * RECORDS
        assert set(made.values()) == {1}
    finally:
        server.stop()
        thread.join()


def test_thirty_may_knock_before_one_is_let_in(large_set: Path) -> None:
    """Connections wait in the kernel while nobody accepts them; beyond the queue they would be tried again after a second."""
    gallery = Gallery([large_set])
    server = open_server(gallery)
    thread = threading.Thread(target=server.run)
    try:
        with ThreadPoolExecutor(PAGES) as pool:
            answers = [pool.submit(ask, server.address, "api/records?count=0") for _ in range(PAGES)]
            time.sleep(0.2)
            thread.start()
            began = time.monotonic()
            for answer in answers:
                answer.result()
        assert time.monotonic() - began < 0.9, "some had to knock again"
    finally:
        server.stop()
        thread.join()


def fill(cache: ViewCache, path: Path) -> ViewCache:
    with ConcatDataset([path]) as dataset:
        for stats in select(dataset, DEFAULT, None):
            cache.keep(stats)
    return cache


def test_views_are_made_before_they_are_asked_for_as_long_as_there_is_room(large_set: Path) -> None:
    whole = fill(ViewCache([large_set], DEFAULT), large_set)
    assert len(whole._views) == len(whole)
    views = whole.views(range(len(whole)))
    size = sum(len(bytes(view)) for view in views.values())
    assert whole._bytes == size
    whole.close()
    small = fill(ViewCache([large_set], DEFAULT, limit=size // 4), large_set)
    assert small._bytes <= size // 4 + max(len(bytes(view)) for view in views.values())
    assert 0 < len(small._views) < len(views) / 2
    assert small.views(range(len(small))) == views, "what was given up is made again"
    assert small._bytes <= size // 4
    small.close()
    with pytest.raises(StampError, match="closing"):
        small.views([0])


def test_a_record_that_is_found_is_ready_to_be_shown(large_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a page costs no more than it takes to send it, however early it is asked for."""

    def none(*_: object) -> bytes:
        raise AssertionError("made when it was asked for")

    monkeypatch.setattr(ViewCache, "_make", none)
    gallery, shown = Gallery([large_set]), 0
    gallery.index.start()
    while shown < 3 * RECORDS:
        shown += len(gallery.records(Query(), shown, RECORDS)["records"])
    gallery.close()


@pytest.mark.parametrize("sort", [(), ("--sort", "area")])
def test_ctrl_c_ends_it_at_once_whoever_still_asks(large_set: Path, sort: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", "from stamp_cli.data import main; main()", "inspect", str(large_set), "--serve"]
    running = subprocess.Popen(
        [*command, *sort],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stderr is not None
    address = next(line.strip() for line in running.stderr if line.startswith("http://"))
    stop = threading.Event()

    def keep_asking(number: int) -> None:
        while not stop.is_set():
            try:
                ask(address, f"api/records?cursor={number}&count=200&q={number % 7}")
            except (OSError, http.client.HTTPException, AssertionError):
                return  # it is gone, or says that it is going

    askers = [threading.Thread(target=keep_asking, args=(number,)) for number in range(PAGES)]
    idle = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port)
    idle.connect()  # and one that says nothing
    for asker in askers:
        asker.start()
    time.sleep(0.3)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=30)[1]
    took = time.monotonic() - began
    stop.set()
    for asker in askers:
        asker.join()
    idle.close()
    assert running.returncode == 130
    assert "Traceback" not in said and "Exception" not in said, said
    assert took < 3, f"{took:.1f} s"
