"""What the routes of a local page take and give: bounded bodies, JSON, JSON by the line, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus

import anyio
import msgspec
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from stamp_schemas import StampError
from stamp_schemas.errors import first_line

MOST_DISCARDED = 512 * 2**20  # bytes of a body that is too large, read so that the browser hears why
PATIENCE = 30  # seconds that a body may take


def json_answer(value: object, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of one JSON value."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def refused(status: HTTPStatus, reason: str = "") -> Response:
    """Why there is no answer: `{"error": …}`, in the status' own words unless a reason is given."""
    return json_answer({"error": reason or status.phrase}, status)


async def body(request: Request, most: int) -> bytes:
    """The body of a request. HTTPException if it has more than `most` bytes, does not say how many, or takes too long."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED)
    data, seen = bytearray(), 0
    try:
        with anyio.fail_after(PATIENCE):
            async for piece in request.stream():
                seen += len(piece)
                if seen <= most:
                    data += piece
                elif seen > MOST_DISCARDED:
                    break
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from None
    if seen > most:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {most / 2**20:.3g} MiB")
    return bytes(data)


class Lines(StreamingResponse):
    """JSON values, a line each as they come. close: called before the browser hears the end, and also where it goes away
    before that; more than once, if need be.
    """

    def __init__(self, values: Iterator[object], close: Callable[[], None]) -> None:
        super().__init__(self._lines(values), headers={"Connection": "close"}, media_type="application/x-ndjson")
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self._close)

    async def _lines(self, values: Iterator[object]) -> AsyncIterator[bytes]:
        async for value in iterate_in_threadpool(values):
            yield msgspec.json.encode(value) + b"\n"
        await run_in_threadpool(self._close)


async def _refusal(_request: Request, fault: Exception) -> Response:
    match fault:
        case HTTPException():
            status = HTTPStatus(fault.status_code)
            return refused(HTTPStatus.NOT_FOUND if status == HTTPStatus.METHOD_NOT_ALLOWED else status, fault.detail)
        case StampError():
            return refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(fault))
        case ValueError():
            return refused(HTTPStatus.BAD_REQUEST, first_line(fault) if isinstance(fault, msgspec.MsgspecError) else "")
    return refused(HTTPStatus.INTERNAL_SERVER_ERROR)


REFUSALS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = dict.fromkeys(
    (HTTPException, StampError, ValueError, Exception), _refusal
)
"""What a fault that a route raises tells the browser."""
