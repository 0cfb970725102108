"""Shards on a web server that serves ranges: connections kept open, one per thread.

Not fsspec's: that reads a whole shard into memory where a server knows no ranges (64 MiB for 16 bytes asked), has no bound
on a body at all, takes twice the processor time for a read of 87 kB (0.43 ms to 0.23 ms), and needs aiohttp with seven more
packages.
"""

from __future__ import annotations

import io
import os
import re
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead, InvalidURL
from ssl import SSLCertVerificationError
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from stamp_data.shards.stores.base import PATIENCE, PassingFault, Store, StoreFault, brief
from stamp_schemas import UsageFault

TIMEOUT = 30.0  # seconds without a byte
REDIRECTS = 5
_ANSWER = 1 << 16  # bytes of an answer that is not the file, which are read so that the connection can go on
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_MOVED = {301, 302, 303, 307, 308}
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class HttpStore(Store):
    """Files below an http or https URL. Proxies of the environment are not asked."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        super().__init__(url, patience)
        try:
            parts = urlsplit(url)
            plain = parts.hostname and not (parts.username or parts.query or parts.fragment)
        except ValueError:
            plain = None
        if not plain:
            shown = url.rpartition("@")[2].removeprefix("https://").removeprefix("http://")
            raise UsageFault(f"{shown}: not the URL of a set", "https://SERVER/FOLDER, without a user, ? or #")
        self._open = _Connections()

    def names(self) -> list[str] | None:
        return None

    def folders(self, pattern: str) -> list[str]:
        """This place alone, if it has a file of just this name: a web server cannot be listed."""
        return [self.place] if "*" not in pattern and self.has(pattern) else []

    def _read(self, name: str, offset: int, length: int, deadline: float) -> bytes:
        if not length:
            return b""
        asked = {"Range": f"bytes={offset}-{offset + length - 1}"}
        response, body = self._ask("GET", name, asked, length, deadline)
        if response.status == 416:
            return b""  # the file ends before
        self._check_encoding(name, response)
        if response.status != 206:
            raise StoreFault(
                f"{self}/{name}: the server does not serve ranges", "download the set, or use another server"
            )
        self._check_range(name, response, offset, length, len(body))
        return body

    def _check_range(self, name: str, response: HTTPResponse, offset: int, length: int, came: int) -> None:
        """That an answer is what was asked for, or all of it that the file has."""
        said = response.headers["Content-Range"]
        if said is None and came <= length:
            return
        found = _RANGE.fullmatch(said or "")
        end = offset + length
        if found and found[3] != "*":
            end = min(end, int(found[3]))
        if found is None or (int(found[1]), int(found[2]) + 1) != (offset, end) or came > length:
            raise StoreFault(f"{self}/{name}: the server answers with other bytes than it was asked for")
        if came != end - offset:
            raise PassingFault(f"{came:,} bytes came of {end - offset:,}")

    def _size(self, name: str, deadline: float) -> int:
        response, _ = self._ask("HEAD", name, {}, 0, deadline)
        self._check_encoding(name, response)
        length = response.headers["Content-Length"] or ""
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise StoreFault(f"{self}/{name}: the server does not say how long it is", "use another server")
        return int(length)

    def _check_encoding(self, name: str, response: HTTPResponse) -> None:
        encoding = response.headers["Content-Encoding"] or "identity"
        if encoding != "identity":
            raise StoreFault(
                f"{self}/{name}: the server sends it compressed ({encoding[:20]!r})", "let it send files as they are"
            )

    def _ask(
        self, method: str, name: str, headers: dict[str, str], length: int, deadline: float
    ) -> tuple[HTTPResponse, bytes]:
        url = f"{self.place}/{quote(name)}"
        for _ in range(REDIRECTS + 1):
            response, body = self._send(method, url, headers, length, deadline)
            if response.status not in _MOVED:
                break
            url = self._moved(name, url, response.headers["Location"])
        else:
            raise StoreFault(f"{self}/{name}: more than {REDIRECTS} redirects", "is the URL right?")
        if response.status in (404, 410):
            raise FileNotFoundError(url)
        if response.status in _PASSING:
            raise PassingFault(_status(response), _seconds(response.headers["Retry-After"]))
        if response.status not in (200, 206, 416):
            raise StoreFault(f"{self}/{name}: {_status(response)}")
        return response, body

    def _moved(self, name: str, url: str, location: str | None) -> str:
        try:
            target = urljoin(url, location or "")
            if location and urlsplit(target).scheme in ("http", "https"):
                return target
        except ValueError:
            pass
        raise StoreFault(f"{self}/{name}: redirects to {(location or 'nowhere')[:80]!r}, which is not followed")

    def _send(
        self, method: str, url: str, headers: dict[str, str], length: int, deadline: float
    ) -> tuple[HTTPResponse, bytes]:
        """An answer with its body, of which no more than was asked for is read."""
        connections = self._open.connections
        parts = urlsplit(url)
        server = os.getpid(), parts.scheme, parts.netloc  # a forked process has no part in its parent's connections
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            if server not in connections:
                kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
                connections[server] = kind(parts.netloc)
            connection = connections[server]
            connection.timeout = _left(deadline)
            connection.response_class = partial(_Response, deadline)  # type: ignore[assignment]  # is called like one
            connection.request(method, target, headers={"Accept-Encoding": "identity", **headers})
            response = connection.getresponse()
            body = _body(response, length if response.status == 206 else _ANSWER)
            if not response.isclosed():  # there is more, of which nobody knows the end
                connections.pop(server).close()
            return response, body
        except SSLCertVerificationError as fault:
            raise StoreFault(f"{self}: {fault.verify_message}: its certificate is not to be trusted") from None
        except (InvalidURL, UnicodeError, ValueError) as fault:
            connections.pop(server, None)
            raise StoreFault(f"{self}: not a URL that can be asked: {brief(fault)}") from None
        except (HTTPException, OSError) as fault:
            if broken := connections.pop(server, None):  # its state is unknown; the next attempt opens another
                broken.close()
            raise PassingFault(brief(fault)) from None


def _body(response: HTTPResponse, most: int) -> bytes:
    """What was sent, or the first `most + 1` bytes of it. IncompleteRead if it ends too soon."""
    buffer = memoryview(bytearray(most + 1))
    size = 0
    while size <= most and (count := response.readinto(buffer[size:])):
        size += count
    if size <= most and response.length:
        raise IncompleteRead(b"", response.length)
    return bytes(buffer[:size])


class _Connections(threading.local):
    """The connections of a thread, by process, scheme and server."""

    def __init__(self) -> None:
        self.connections: dict[tuple[int, str, str], HTTPConnection] = {}


class _Response(HTTPResponse):
    """An answer that has to come by a deadline, to its last byte."""

    def __init__(self, deadline: float, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Timed(sock, self.fp.detach(), deadline))


class _Timed(io.RawIOBase):
    """What comes from a socket until a deadline."""

    def __init__(self, sock: Any, raw: Any, deadline: float) -> None:
        self._socket, self._raw, self._deadline = sock, raw, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._socket.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    """Seconds to wait for the next byte; TimeoutError past the deadline."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer is not complete")
    return min(left, TIMEOUT)


def _status(response: HTTPResponse) -> str:
    return brief(f"{response.status} {response.reason}")


def _seconds(after: str | None) -> float:
    """Of a Retry-After header, which has a number or a date; 0 for anything else."""
    try:
        if after and after.strip().isdecimal():
            return float(after)
        wanted = parsedate_to_datetime(after) if after else None
    except ValueError:
        return 0.0
    return max((wanted - datetime.now(UTC)).total_seconds(), 0.0) if wanted and wanted.tzinfo else 0.0
