"""Shards on a web server that serves ranges: connections kept open, one per thread."""

from __future__ import annotations

import threading
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urljoin, urlsplit

from stamp_schemas import StampError
from stamp_train.stream.store import PassingFault, Store

TIMEOUT = 30.0  # seconds without a byte
REDIRECTS = 5
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_MOVED = {301, 302, 303, 307, 308}


class _Connections(threading.local):
    """The connections of a thread, by scheme and server."""

    def __init__(self) -> None:
        self.connections: dict[tuple[str, str], HTTPConnection] = {}


class HttpStore(Store):
    """Files below an http or https URL."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._open = _Connections()

    def _read(self, name: str, offset: int, length: int) -> bytes:
        if not length:
            return b""
        response, body = self._ask("GET", name, {"Range": f"bytes={offset}-{offset + length - 1}"})
        if response.status == 416:
            return b""  # the file ends before
        if response.status != 206:
            raise StampError(
                f"{self}/{name}: the server does not serve ranges", "download the set, or use another server"
            )
        return body

    def _size(self, name: str) -> int:
        response, _ = self._ask("HEAD", name, {})
        length = response.headers["Content-Length"]
        if length is None:
            raise StampError(f"{self}/{name}: the server does not say how long it is", "use another server")
        return int(length)

    def _ask(self, method: str, name: str, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        url = f"{self.place}/{quote(name)}"
        for _ in range(REDIRECTS):
            response, body = self._send(method, url, headers)
            if response.status not in _MOVED:
                break
            url = urljoin(url, response.headers["Location"])
        if response.status in (404, 410):
            raise FileNotFoundError(url)
        if response.status in _PASSING:
            raise PassingFault(f"{response.status} {response.reason}")
        if response.status not in (200, 206, 416):
            raise StampError(f"{self}/{name}: {response.status} {response.reason}")
        return response, body

    def _send(self, method: str, url: str, headers: dict[str, str]) -> tuple[HTTPResponse, bytes]:
        parts = urlsplit(url)
        connections = self._open.connections
        server = parts.scheme, parts.netloc
        if server not in connections:
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            connections[server] = kind(parts.netloc, timeout=TIMEOUT)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            connections[server].request(method, target, headers={"Accept-Encoding": "identity", **headers})
            response = connections[server].getresponse()
            return response, response.read()
        except (HTTPException, OSError) as fault:
            connections.pop(server).close()  # its state is unknown; the next attempt opens another
            raise PassingFault(f"{type(fault).__name__}: {fault}") from None
