"""`--serve`: the gallery over all records, on this machine only, for whoever was given its address.

Read only. Every address begins with a random token; the Host header must name the loopback address (so that no other
site's name can be pointed at it); records are found by set and key in the index, never by a path.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec

from stamp_data.inspect.catalogue import Catalogue, Query
from stamp_data.inspect.examine import examine
from stamp_data.inspect.page import Page, page_data
from stamp_data.inspect.report import InspectReport
from stamp_data.inspect.shelf import Shelf
from stamp_data.inspect.where import Filter
from stamp_data.pixels import as_png
from stamp_data.shards.stores import Location
from stamp_schemas import StampError

HOST = "127.0.0.1"
MOST_RECORDS = 200  # in one answer
MOST_FIELDS = 20  # in one query
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif", "bmp": "image/bmp"}


class RecordPage(msgspec.Struct):
    """One answer of `api/records`. records: each a `RecordView`. next: cursor of the next page, None at the end. matched,
    scanned, total: records.
    """

    records: list[msgspec.Raw]
    next: int | None
    matched: int
    scanned: int
    total: int
    fault: str


class Gallery:
    """What the server answers with."""

    def __init__(
        self,
        paths: Sequence[Location],
        *,
        where: str | None = None,
        sort: str | None = None,
        seed: int = 0,
        budget: int | None = None,
        side: int = 1,
        report: InspectReport | None = None,
    ) -> None:
        self.report = report or examine(paths, seed=seed, where=where, budget=budget, side=side)
        self._shelf = Shelf(paths, Filter.parse(where) if where else None, budget, side)
        self.catalogue = Catalogue(paths, where=where, sort=sort, budget=budget, side=side, then=self._shelf.fill)
        self.page = Page()

    def html(self) -> bytes:
        """The page itself; it asks for its records."""
        return self.page.html(page_data(self.report, [], mode="server", notice=""))

    def records(self, query: Query, cursor: int, count: int) -> RecordPage:
        """Records `cursor` … `cursor + count` of those that fit."""
        found = self.catalogue.find(query)
        count = min(max(count, 0), MOST_RECORDS)
        part = found[max(cursor, 0) : max(cursor, 0) + count]
        end = max(cursor, 0) + len(part)
        total = len(self._shelf)
        return RecordPage(
            records=self._shelf.views(entry.number for entry in part),
            next=end if end < len(found) else None,
            matched=len(found),
            scanned=total if self.catalogue.done else min(self.catalogue.scanned, total - 1),
            total=total,
            fault=self.catalogue.fault,
        )

    def record(self, set_name: str, key: str) -> msgspec.Raw:
        """One record, a `RecordView`; StampError if there is none of that key, or it cannot be read."""
        views = self._shelf.views([self._shelf.find(key, set_name)])
        if not views:
            raise StampError(f"{key} cannot be read")
        return views[0]

    def picture(self, set_name: str, key: str) -> tuple[bytes, str]:
        """(original bytes, media type) of a record's picture, as PNG where browsers do not know its format; b"" if none."""
        data, row = self._shelf.picture(self._shelf.find(key, set_name))
        if data and row.image_extension not in TYPES:
            data = as_png(data, row.member_name("image"))
        return data, TYPES.get(row.image_extension, TYPES["png"])

    def close(self) -> None:
        self.catalogue.close()
        self._shelf.close()


class Handler(BaseHTTPRequestHandler):
    """GET only; whatever is not asked for exactly is not there."""

    server_version, sys_version = "stamp", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def __init__(self, gallery: Gallery, token: str, *arguments: object) -> None:
        self.gallery, self.token = gallery, token
        super().__init__(*arguments)  # type: ignore[arg-type]  # what socketserver hands over

    def do_GET(self) -> None:
        """Check who asks, then answer."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        try:
            address = urlsplit(self.path)
            token, _, place = address.path.removeprefix("/").partition("/")
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                return self._refuse(HTTPStatus.NOT_FOUND)
            fields = parse_qs(address.query, max_num_fields=MOST_FIELDS)
            return self._answer(place, {name: texts[-1] for name, texts in fields.items()})
        except StampError:
            return self._refuse(HTTPStatus.NOT_FOUND)
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST)

    def _answer(self, place: str, values: dict[str, str]) -> None:
        match place:
            case "":
                self._send(self.gallery.html(), "text/html; charset=utf-8")
            case "api/records":
                cursor, count = int(values.pop("cursor", "0")), int(values.pop("count", "48"))
                query = msgspec.convert(values, Query)
                self._send_json(self.gallery.records(query, cursor, count))
            case "api/record":
                self._send_json({"record": self.gallery.record(values.get("set", ""), values.get("key", ""))})
            case "api/picture":
                self._send(*self.gallery.picture(values.get("set", ""), values.get("key", "")))
            case _:
                self._refuse(HTTPStatus.NOT_FOUND)

    def _send_json(self, value: object) -> None:
        self._send(msgspec.json.encode(value), "application/json")

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(json.dumps({"error": status.phrase}).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": self.gallery.page.policy(served=True) + "; frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "private, max-age=3600" if kind.startswith("image/") else "no-store",
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are not logged: the terminal belongs to the command."""


class Server(ThreadingHTTPServer):
    """A thread per request; no request outlives the server."""

    daemon_threads = True
    request_queue_size = 128  # of the 5 that are usual, the rest of 30 at once would wait for a second or three

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - socketserver's own names
        """A browser that goes away in the middle of an answer is no event; anything else is a bug, and is shown."""
        fault = sys.exception()
        # Ctrl-C while a thread starts makes socketserver close the connection under it: a bad descriptor.
        gone = isinstance(fault, ConnectionError | TimeoutError) or getattr(fault, "errno", None) == errno.EBADF
        if not gone:
            logging.getLogger(__name__).exception("a request failed")


def open_server(gallery: Gallery, port: int = 0) -> tuple[Server, str]:
    """(server, its address with the token) on the loopback interface; port 0 takes any free one."""
    token = secrets.token_urlsafe(24)
    try:
        server = Server((HOST, port), partial(Handler, gallery, token))
    except (OSError, OverflowError) as fault:
        raise StampError(f"port {port} cannot be opened: {fault}", "--port 0 takes any free one") from None
    return server, f"http://{HOST}:{server.server_address[1]}/{token}/"


def serve(
    paths: Sequence[Location],
    *,
    port: int = 0,
    on_ready: Callable[[str], None],
    where: str | None = None,
    sort: str | None = None,
    seed: int = 0,
    budget: int | None = None,
    side: int = 1,
    report: InspectReport | None = None,
) -> None:
    """Serve the gallery until the caller is interrupted (KeyboardInterrupt passes through). on_ready: gets the address."""
    gallery = Gallery(paths, where=where, sort=sort, seed=seed, budget=budget, side=side, report=report)
    server, address = open_server(gallery, port)
    try:
        gallery.catalogue.start()
        on_ready(address)
        server.serve_forever()
    finally:
        server.server_close()
        gallery.close()
