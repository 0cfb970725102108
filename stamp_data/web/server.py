"""A web server for this machine only, and for whoever was given its address: see `guard` for who may ask."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from stamp_data.web.answers import REFUSALS
from stamp_data.web.guard import HOST, Guard
from stamp_schemas import StampError

WAITING = 128  # connections that nobody has let in yet; of fewer, the rest of 30 at once would try again after a second
MOST_CONNECTIONS = 512  # at a time; more are told so, before files run out
SILENCE = 300  # ticks of 0.1 s after which who has not asked for anything yet is hung up on
GRACE = 1  # seconds that answers on their way are given when the server ends


def open_port(port: int) -> socket.socket:
    """A socket that lets in whoever comes; 0 takes any free port. StampError if this one cannot be had."""
    opened = socket.socket()
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((HOST, port))
        opened.listen(WAITING)
    except (OSError, OverflowError) as fault:
        opened.close()
        raise StampError(f"port {port} cannot be opened: {fault}", "--port 0 takes any free one") from None
    return opened


class LoopbackServer:
    """It takes connections from the beginning on, and answers once it runs. StampError if the port cannot be had.

    routes: what can be asked, after the token. policy: Content-Security-Policy of every answer. close: called once when
    the server ends, and lets go whoever waits for an answer. port: 0 takes any free one. threads: that make answers.
    """

    def __init__(
        self, routes: Sequence[Route], policy: str, close: Callable[[], None], port: int = 0, threads: int = 40
    ) -> None:
        self._socket = open_port(port)
        port = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(24)
        self.address = f"http://{HOST}:{port}/{token}/"
        app = Starlette(routes=routes, exception_handlers=REFUSALS)
        app.router.redirect_slashes = False
        methods = {method for route in routes for method in route.methods or () if method != "HEAD"}
        self._guard = Guard(app, token, port, methods, policy)
        self._close, self._closing = close, Lock()
        self._uvicorn = _Uvicorn(self._guard, threads, self._end)

    def run(self, on_ready: Callable[[str], None] = lambda _: None) -> None:
        """Answer until `stop`, or until interrupted (KeyboardInterrupt passes through). on_ready: gets the address."""
        try:
            on_ready(self.address)
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._end()

    def stop(self) -> None:
        """Have `run` return soon; from any thread."""
        self._uvicorn.should_exit = True

    def _end(self) -> None:
        self._guard.ending = True
        if self._closing.acquire(blocking=False):  # and never released
            self._close()


class _Uvicorn(uvicorn.Server):
    """Silent, and the first thing that it does at its end is to call `end`."""

    def __init__(self, app: Guard, threads: int, end: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL + 1,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                backlog=WAITING,
                timeout_graceful_shutdown=GRACE,
            )
        )
        self._threads, self._end = threads, end
        self._silent: set[H11Protocol] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._threads
        asyncio.get_running_loop().set_exception_handler(_note)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        if counter % SILENCE == 0:
            before, self._silent = self._silent, set()
            for one in self.server_state.connections:
                if isinstance(one, H11Protocol) and one.cycle is None:
                    self._silent.add(one)
            for one in before & self._silent:
                one.transport.close()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self._end)
        await super().shutdown(sockets)


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What goes wrong outside of any request, as one line."""
    logging.getLogger(__name__).error("%s: %r", context["message"], context.get("exception"))
