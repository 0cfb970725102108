"""The server of local pages by itself: bugs, ends and bodies; who may ask is tested with the pages that it serves."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stamp_data.web import server
from stamp_data.web.answers import Lines, body, json_answer
from stamp_data.web.server import LoopbackServer

MOST = 1000  # bytes of a body
closed = threading.Event()


def bug(_request: Request) -> Response:
    raise KeyError("two\nlines")


def counted(_request: Request) -> Response:
    def numbers() -> Iterator[int]:
        for number in range(1000):
            yield number
            time.sleep(0.01)

    return Lines(numbers(), closed.set)


async def length(request: Request) -> Response:
    return json_answer(len(await body(request, MOST)))


def opened(close: threading.Event) -> LoopbackServer:
    routes = [Route("/bug", bug), Route("/counted", counted), Route("/length", length, methods=["POST"])]
    return LoopbackServer(routes, "default-src 'none'", close.set, threads=3)


@pytest.fixture
def served() -> Iterator[LoopbackServer]:
    close = threading.Event()
    running = opened(close)
    thread = threading.Thread(target=running.run)
    thread.start()
    yield running
    running.stop()
    thread.join(timeout=10)
    assert close.is_set() and not thread.is_alive()


def ask(served: LoopbackServer, place: str, data: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
    there = urlsplit(served.address)
    connection = http.client.HTTPConnection("127.0.0.1", there.port, timeout=10)
    connection.request("GET" if data is None else "POST", there.path + place, data, headers)
    return connection.getresponse()


def test_a_bug_is_a_line_of_the_log_and_no_secret(served: LoopbackServer, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(served, "bug")
    assert (answer.status, answer.read()) == (500, b'{"error":"Internal Server Error"}')
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    deadline = time.monotonic() + 5
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.01)
    (line,) = caplog.records
    assert line.getMessage() == "a request failed: KeyError: 'two\\nlines'" and line.exc_info is None


def test_bodies_are_bounded_by_what_comes(served: LoopbackServer) -> None:
    assert ask(served, "length", b"x" * MOST).read() == b"1000"
    assert ask(served, "length", b"x" * (MOST + 1)).status == 413
    there = urlsplit(served.address)
    with socket.create_connection(("127.0.0.1", there.port)) as both:  # says 3 bytes, and sends pieces of any number
        head = f"POST {there.path}length HTTP/1.1\r\nHost: 127.0.0.1:{there.port}\r\n"
        piece = b"%x\r\n%s\r\n" % (MOST + 1, b"x" * (MOST + 1))
        both.sendall(head.encode() + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + piece + b"0\r\n\r\n")
        assert both.recv(20).split()[1] in (b"400", b"413")


def test_who_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, served: LoopbackServer) -> None:
    monkeypatch.setattr(server, "SILENCE", 2)
    with socket.create_connection(("127.0.0.1", urlsplit(served.address).port), timeout=5) as silent:
        silent.sendall(b"GET /")
        assert silent.recv(1) == b""
    assert ask(served, "length", b"").status == 200


def test_lines_come_one_by_one_and_are_closed_when_nobody_listens(served: LoopbackServer) -> None:
    closed.clear()
    answer = ask(served, "counted")
    assert [answer.readline() for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
    answer.close()
    assert closed.wait(5)


def test_ctrl_c_ends_lines_that_nobody_reads_and_nothing_but_lines_is_said() -> None:
    code = (
        "import sys, threading, time\n"
        f"sys.path.insert(0, {str(__file__).rpartition('/')[0]!r})\n"
        "from test_server import opened\n"
        "try:\n"
        "    opened(threading.Event()).run(lambda address: print(address, flush=True))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert running.stdout is not None
    there = urlsplit(running.stdout.readline().strip())
    asked = [http.client.HTTPConnection("127.0.0.1", there.port, timeout=10) for _ in range(6)]
    for connection in asked:
        connection.request("GET", f"{there.path}counted")
    failing = http.client.HTTPConnection("127.0.0.1", there.port, timeout=10)
    failing.request("GET", f"{there.path}bug")
    assert failing.getresponse().status == 500
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=20)[1]
    assert (running.returncode, said.splitlines()) == (130, ["a request failed: KeyError: 'two\\nlines'"])
    assert time.monotonic() - began < 3


def test_without_the_extra_a_page_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['starlette'] = None; from stamp_cli.data import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "inspect", "x", "--serve"], capture_output=True, text=True)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first == "error: starlette is not installed" and "pip install" in second and "[pages]" in second
