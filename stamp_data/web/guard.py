"""Who may ask a local page's server, and the headers of whatever it answers.

Every address begins with a random token. The Host header must name the loopback address (so that no other site's name can
be pointed at it), and a browser that says which page a request comes from must name ours.
"""

from __future__ import annotations

import hmac
import logging
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stamp_data.web.answers import refused
from stamp_schemas.errors import first_line

HOST = "127.0.0.1"
MOST_FIELDS = 20  # in one query
MOVED = "this address holds no longer: open the one that the command printed last"


class Guard:
    """Passes to `app` what may be asked. token: first part of every path; methods: that `app` knows; policy: the
    Content-Security-Policy of every answer. ending: set to turn everybody away.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, methods: set[str], policy: str) -> None:
        self.ending = False
        self._app, self._token, self._methods = app, token, methods
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self._headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. What goes wrong within `app` has been answered there, and is a line of the log."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        answer = self._app if refusal is None else refused(refusal, MOVED if refusal == HTTPStatus.NOT_FOUND else "")
        try:
            await answer({**scope, "root_path": f"/{self._token}"}, receive, send_with_headers)
        except ClientDisconnect:  # a browser that goes away in the middle is no event
            pass
        except Exception as fault:
            logging.getLogger(__name__).error("a request failed: %s: %s", type(fault).__name__, first_line(fault))

    def _refusal(self, scope: Scope) -> HTTPStatus | None:
        headers = Headers(scope=scope)
        token = scope["path"].removeprefix("/").partition("/")[0]
        if scope["method"] not in self._methods:
            return HTTPStatus.NOT_IMPLEMENTED
        if headers.get("host", "") not in self._hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        if headers.get("origin") not in (None, *(f"http://{host}" for host in self._hosts)):
            return HTTPStatus.FORBIDDEN
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return HTTPStatus.NOT_FOUND
        if scope["query_string"].count(b"&") >= MOST_FIELDS:
            return HTTPStatus.BAD_REQUEST
        return HTTPStatus.SERVICE_UNAVAILABLE if self.ending else None
