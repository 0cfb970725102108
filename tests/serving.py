"""A web server of a folder, in a thread, with the faults that a test asks for."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and single ranges of them.

    failures: so many requests are answered with `status` first. stutter: so is each of this number. answer: a method
    that answers instead.
    """

    wbufsize = 65_536  # header and body in one packet: otherwise each answer waits 40 ms for an acknowledgement
    failures = 0
    stutter = 0
    status = 503
    headers_of_failures: tuple[tuple[str, str], ...] = ()
    ranges = True
    requests: tuple[str, ...] = ()
    answer: Callable[[], None] | None = None

    def do_GET(self) -> None:
        cls = type(self)
        cls.requests = (*cls.requests, f"{self.command} {self.path} {self.headers.get('Range', '')}")
        if cls.failures or (cls.stutter and len(cls.requests) % cls.stutter == 0):
            cls.failures = max(cls.failures - 1, 0)
            return self.say(cls.status, b"not now", *cls.headers_of_failures)
        if self.answer is not None:
            return self.answer()
        return self.file(Path(self.translate_path(self.path)))

    def file(self, path: Path, harm: bool = False) -> None:
        """A file, or the range of it that is asked for; harm: with its last bit flipped."""
        if not path.is_file():
            return self.say(404, b"<html>nothing here</html>")
        size = path.stat().st_size
        asked = self.headers.get("Range") if type(self).ranges else None
        first, last = (int(number) for number in (asked or f"=0-{size - 1}").partition("=")[2].split("-"))
        if asked and first >= size:
            return self.say(416)
        with path.open("rb") as file:
            file.seek(first)
            part = file.read(last + 1 - first)
        if harm:
            part = part[:-1] + bytes([part[-1] ^ 1])
        ranged = [("Content-Range", f"bytes {first}-{first + len(part) - 1}/{size}")] if asked else []
        return self.say(206 if asked else 200, part, *ranged)

    def do_HEAD(self) -> None:
        self.do_GET()

    def say(self, status: int, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """An answer with the right length, unless the headers say another."""
        self.send_response(status)
        names = {name for name, _ in headers}
        for name, value in (*headers, *([] if "Content-Length" in names else [("Content-Length", str(len(body)))])):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def drip(self, piece: bytes, seconds: float) -> None:
        """Write on and on, until the other side has gone."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(0.005)

    def log_message(self, format: str, *arguments: object) -> None:
        """Silence."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested here."""


@contextmanager
def serve(folder: Path, **settings: object) -> Iterator[tuple[str, type[Handler]]]:
    """The URL of a server of `folder`, and its handler, whose settings and list of requests can be looked at."""
    handler = type("OwnHandler", (Handler,), {"protocol_version": "HTTP/1.1", **settings})
    server = _Server(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
