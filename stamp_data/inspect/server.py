"""`--serve`: the gallery over all records, on this machine only, see `stamp_data.web.guard` for who may ask.

Read only, but for the list of tagged records. Records are found by set and key in the index, never by a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stamp_data.inspect.inspection import inspect_sets
from stamp_data.inspect.page import page, served_policy
from stamp_data.inspect.report import InspectReport
from stamp_data.inspect.search_index import Query, SearchIndex
from stamp_data.inspect.selection import DEFAULT, Selection
from stamp_data.inspect.view_cache import ViewCache
from stamp_data.pixels import SHOWN, as_png, browser_type
from stamp_data.shards.stores import Location
from stamp_data.tags import TagList
from stamp_data.web.answers import body, json_answer
from stamp_data.web.server import LoopbackServer
from stamp_schemas import StampError
from stamp_schemas.tags import MOST_TAGS, Tag

MOST_SENT = 2**16  # bytes of tags
MOST_RECORDS = 200  # in one answer
THREADS = 4  # that make answers: views are work for processors, and who comes first is served first


class Sent(msgspec.Struct):
    """The tags that a record is to have, none to have none."""

    set: str
    record: str
    tags: Annotated[list[Tag], Meta(max_length=MOST_TAGS)]


class Gallery:
    """What the server answers with. tags: the list of tagged records, which is written at each change."""

    def __init__(
        self,
        paths: Sequence[Location],
        selection: Selection = DEFAULT,
        report: InspectReport | None = None,
        tags: Path | None = None,
    ) -> None:
        self.tags = TagList(tags)
        self.report = report or inspect_sets(paths, selection)
        self.views = ViewCache(paths, selection)
        self.index = SearchIndex(paths, selection, self.views.keep, self.tags)

    def records(self, query: Query, cursor: int, count: int) -> dict[str, Any]:
        """Records `cursor` … `cursor + count` of those that fit, and for each the group of nearly the same pictures.

        next: cursor of what follows, None at the end. matched, scanned, total: records.
        """
        found = self.index.find(query)
        start, count = max(cursor, 0), min(max(count, 0), MOST_RECORDS)
        part = found[start : start + count]
        end = start + len(part)
        views, total = self.views.views(part), len(self.views)
        busy = self.index.near if query.near and self.index.done else self.index
        return {
            "records": list(views.values()),
            "near": [self.index.near.groups.get(number, "") for number in views],
            "next": end if end < len(found) else None,
            "matched": len(found),
            "scanned": total if busy.done else min(busy.scanned, total - 1),
            "total": total,
            "fault": self.index.fault or self.index.near.fault,
        }

    def tag(self, tagged: Sent) -> None:
        """Give a record its tags. StampError if there is no such record, or the list cannot be written."""
        self.views.find(tagged.record, tagged.set)
        place = next(one.path for one in self.report.inputs if one.name == tagged.set)
        try:
            self.tags.put(tagged.set, tagged.record, tagged.tags, place)
        except OSError as fault:
            raise StampError(f"the list cannot be written: {fault.strerror}") from None

    def record(self, number: int) -> dict[str, object]:
        """The view of one record, and the group of its picture; StampError if it cannot be read."""
        views = self.views.views([number])
        if not views:
            raise StampError("the record cannot be read")
        return {"record": views[number], "near": self.index.near.groups.get(number, "")}

    def picture(self, number: int) -> tuple[bytes, str]:
        """(original bytes, media type) of a record's picture, as PNG where browsers would not show it so; b"" if none."""
        data, row = self.views.picture(number)
        name = row.member_name("image")
        kind = browser_type(data, row.image_extension, name) if data else ""
        if data and not kind:
            data = as_png(data, name)
        return data, kind or SHOWN["png"]

    def close(self) -> None:
        self.index.close()
        self.views.close()


def open_server(gallery: Gallery, port: int = 0) -> LoopbackServer:
    """The server of a gallery, see `LoopbackServer`; at its end it closes the gallery."""

    def front(_request: Request) -> Response:
        return Response(page("server", gallery.report, gallery.tags), media_type="text/html")

    def records(request: Request) -> Response:
        values = dict(request.query_params)
        cursor, count = int(values.pop("cursor", "0")), int(values.pop("count", "48"))
        return json_answer(gallery.records(msgspec.convert(values, Query), cursor, count))

    def numbers(request: Request) -> Response:
        return json_answer(gallery.index.numbers(msgspec.convert(dict(request.query_params), Query)))

    def record(request: Request) -> Response:
        return json_answer(gallery.record(_number(request)))

    async def tag(request: Request) -> Response:
        sent = msgspec.json.decode(await body(request, MOST_SENT), type=Sent)
        await run_in_threadpool(gallery.tag, sent)
        return json_answer({})

    def picture(request: Request) -> Response:
        data, kind = gallery.picture(_number(request))
        return Response(data, headers={"Cache-Control": "private, max-age=3600"}, media_type=kind)

    def _number(request: Request) -> int:
        try:
            return gallery.views.find(request.query_params.get("key", ""), request.query_params.get("set", ""))
        except StampError:
            raise HTTPException(404) from None

    routes = [
        Route("/", front),
        Route("/api/records", records),
        Route("/api/record", record),
        Route("/api/numbers", numbers),
        Route("/api/tag", tag, methods=["POST"]),
        Route("/api/picture", picture),
    ]
    policy = f"{served_policy()}; frame-ancestors 'none'"
    return LoopbackServer(routes, policy, gallery.close, port, THREADS)
