"""A web server for this machine only, and for whoever was given its address.

Every address begins with a random token. The Host header must name the loopback address (so that no other site's name can
be pointed at it), and a browser that says which page a request comes from must name ours.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from stamp_data.inspect.server import HOST, Server
from stamp_schemas import StampError

MOST_FIELDS = 8  # in one query
MOST_DISCARDED = 512 * 2**20  # bytes of a body that is too large, read so that the browser hears why
PIECE = 2**16  # bytes read at a time


class Refusal(Exception):
    """A request that is not answered. reason: what the caller is told, by default the status' own words."""

    def __init__(self, status: HTTPStatus, reason: str = "") -> None:
        super().__init__(reason or status.phrase)
        self.status = status


@dataclass(frozen=True)
class Call:
    """A request that may be answered. place: its path after the token; values: of its query."""

    method: str
    place: str
    values: Mapping[str, str]


class LoopbackHandler(BaseHTTPRequestHandler):
    """Checks who asks, then answers by `answer`, which subclasses define."""

    server_version, sys_version = "stamp", ""
    protocol_version = "HTTP/1.1"
    timeout = 30
    policy = "default-src 'none'"
    """Content-Security-Policy of every answer."""

    def __init__(self, token: str, *arguments: Any) -> None:
        self.token = token
        super().__init__(*arguments)

    def answer(self, call: Call) -> None:
        """Answer a request, or raise `Refusal`; StampError and ValueError are the request's fault, too."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """See `answer`."""
        self._admit("GET")

    def do_POST(self) -> None:
        """See `answer`."""
        self.close_connection = True  # nothing of a body that was not read can be taken for the next request
        self._admit("POST")

    def body(self, most: int) -> bytes:
        """The body of the request; Refusal if it has more than `most` bytes, or does not say how many."""
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdecimal()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED)
        length = int(text)
        if length > most:
            left = min(length, MOST_DISCARDED)
            while left > 0 and (piece := self.rfile.read(min(left, PIECE))):
                left -= len(piece)
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most / 2**20:.3g} MiB")
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionAbortedError("the body ended early")
        return data

    def send(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        """Answer with `data` of a media type. headers: further ones, `_` for `-`."""
        self._send_head(kind, status, {"Content_Length": str(len(data)), **headers})
        self.wfile.write(data)

    def send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with one JSON value."""
        self.send(msgspec.json.encode(value), "application/json", status)

    def send_lines(self, values: Iterable[object]) -> None:
        """Answer with JSON values, a line each as they come; the connection's end is the answer's."""
        self.close_connection = True
        self._send_head("application/x-ndjson", HTTPStatus.OK, {"Connection": "close"})
        for value in values:
            self.wfile.write(msgspec.json.encode(value) + b"\n")

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged: the terminal belongs to the command."""

    def _admit(self, method: str) -> None:
        try:
            self._check_sender()
            address = urlsplit(self.path)
            token, _, place = address.path.removeprefix("/").partition("/")
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                raise Refusal(HTTPStatus.NOT_FOUND)
            fields = parse_qs(address.query, max_num_fields=MOST_FIELDS)
            self.answer(Call(method, place, {name: texts[-1] for name, texts in fields.items()}))
        except Refusal as refusal:
            self.send_json({"error": str(refusal)}, refusal.status)
        except StampError as fault:
            self.send_json({"error": str(fault)}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except ValueError:
            self.send_json({"error": HTTPStatus.BAD_REQUEST.phrase}, HTTPStatus.BAD_REQUEST)

    def _check_sender(self) -> None:
        port = self.connection.getsockname()[1]
        hosts = (f"{HOST}:{port}", f"localhost:{port}")
        if self.headers.get("Host", "") not in hosts:
            raise Refusal(HTTPStatus.MISDIRECTED_REQUEST)
        if self.headers.get("Origin") not in (None, *(f"http://{host}" for host in hosts)):
            raise Refusal(HTTPStatus.FORBIDDEN)

    def _send_head(self, kind: str, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        fixed = {
            "Content_Type": kind,
            "Content_Security_Policy": self.policy,
            "X_Content_Type_Options": "nosniff",
            "Referrer_Policy": "no-referrer",
            "Cross_Origin_Resource_Policy": "same-origin",
            "Cross_Origin_Opener_Policy": "same-origin",
            "Cache_Control": "no-store",
        }
        self.send_response(status)
        for name, value in {**fixed, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def open_server(handler: type[LoopbackHandler], *arguments: object, port: int = 0) -> tuple[Server, str]:
    """(server, its address with the token) on the loopback interface; port 0 takes any free one.

    arguments: of the handler, after the token.
    """
    token = secrets.token_urlsafe(24)
    try:
        server = Server((HOST, port), partial(handler, token, *arguments))
    except (OSError, OverflowError) as fault:
        raise StampError(f"port {port} cannot be opened: {fault}", "--port 0 takes any free one") from None
    return server, f"http://{HOST}:{server.server_address[1]}/{token}/"
