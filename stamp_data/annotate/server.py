"""`annotate`: pictures and what is said of them as a local page, see `stamp_data.web.guard` for who may ask.

Pictures are asked for by number, never by a path; what is sent is bounded, and whatever it says is checked by the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stamp_data import rle
from stamp_data.annotate.ahead import Ahead
from stamp_data.annotate.assist import WITHOUT_WEIGHTS, Place, Suggestion, UInt8
from stamp_data.annotate.hints import Model, hints
from stamp_data.annotate.images import Images
from stamp_data.annotate.messages import Asked, Named, Row, Saved, Sent, Written, row_of
from stamp_data.annotate.review import PATCH, write_patch
from stamp_data.annotate.store import Conflict, Opened, Store
from stamp_data.files import Stamp
from stamp_data.web.answers import body, json_answer, refused
from stamp_data.web.files import POLICY, PageFiles
from stamp_data.web.server import LoopbackServer
from stamp_schemas import RLE, StampError
from stamp_schemas.annotated import ImageFile
from stamp_schemas.extras import lacking_module

FILES = PageFiles("stamp_data.annotate.page", "STAMP annotate")
Move = Callable[[ImageFile, int], Opened]
USUAL = Model()
MOST_SENT = 64 * 2**20  # bytes of one change
MOST_ASKED = 2**16  # bytes of one question


class Proposer(NamedTuple):
    """A model that is asked for masks. name: as it is kept with them.

    propose: the upright picture, uint8 [height, width, 3], and phrases -> for each a mask, bool [height, width], or None
    where it sees nothing. describe: a picture -> phrases for what it sees there; StampError where it cannot say.
    """

    name: str
    propose: Callable[[UInt8, Sequence[str]], Sequence[npt.NDArray[np.bool_] | None]]
    describe: Callable[[UInt8], Sequence[str]] | None = None


class Clicker(NamedTuple):
    """A model that is asked for what somebody points at. name: as it is kept.

    find: the upright picture, uint8 [height, width, 3], places inside, places outside, two corners of a box or none -> masks,
    bool [height, width], the best first. prepare: does ahead what a first question about a picture would wait for. Both are
    called by several threads at a time.
    """

    name: str
    find: Callable[[UInt8, Sequence[Place], Sequence[Place], Sequence[Place]], Sequence[npt.NDArray[np.bool_]]]
    prepare: Callable[[UInt8], None] = lambda _: None


class Models(NamedTuple):
    """What can be asked besides what needs no weights."""

    proposer: Proposer | None = None
    clicker: Clicker | None = None


NO_MODELS = Models()


class AnnotatePage:
    """The page, and what its scripts ask for."""

    def __init__(self, images: Images, store: Store, model: Model = USUAL, models: Models = NO_MODELS) -> None:
        self.images, self.store, self.model = images, store, model
        self.proposer, self.clicker = models
        self._proposing, self._patching = Lock(), Lock()
        self._rows: dict[str, tuple[Stamp, Row]] = {}  # a list of 1,000 pictures reads only the files that have changed
        self._ahead = Ahead(images, self.clicker.prepare) if self.clicker else None

    def close(self) -> None:
        """Look at no more pictures ahead."""
        if self._ahead:
            self._ahead.close()

    def routes(self) -> list[Route]:
        """What can be asked of the server."""
        return [
            Route("/api/list", self._list),
            Route("/api/open", self._open),
            Route("/api/image", self._image),
            _posted("/api/edit", self._edit, Sent),
            Route("/api/undo", partial(self._moved, self.store.undo), methods=["POST"]),
            Route("/api/redo", partial(self._moved, self.store.redo), methods=["POST"]),
            Route("/api/patch", self._patch, methods=["POST"]),
            _posted("/api/propose", self._propose, Named),
            Route("/api/describe", self._describe, methods=["POST"]),
            _posted("/api/hints", self._hints, Written),
            _posted("/api/suggest", self._suggest, Asked, MOST_ASKED),
            *FILES.routes(),
        ]

    def _list(self, _request: Request) -> Response:
        rows = [self._row(name) for name in self.images.names]
        model = self.proposer.name if self.proposer else ""
        return json_answer({"by": self.store.by, "model": model, "folder": str(self.store.folder), "images": rows})

    def _open(self, request: Request) -> Response:
        number = _number(request)
        opened = self.store.open(self.images.file(number))
        if self._ahead:
            self._ahead.turn(number)
        return json_answer(self._saved(opened, whole=True))

    def _image(self, request: Request) -> Response:
        data, kind = self.images.shown(_number(request))
        return Response(data, headers={"Cache-Control": "private, max-age=3600"}, media_type=kind)

    def _edit(self, number: int, sent: Sent) -> Response:
        return self._kept(lambda: self.store.change(self.images.file(number), sent.revision, sent.change))

    def _moved(self, move: Move, request: Request) -> Response:
        revision = int(request.query_params.get("revision", ""))
        return self._kept(lambda: move(self.images.file(_number(request)), revision), whole=True)

    def _kept(self, change: Callable[[], Opened], whole: bool = False) -> Response:
        try:
            return json_answer(self._saved(change(), whole))
        except Conflict as fault:
            return refused(HTTPStatus.CONFLICT, str(fault))

    def _patch(self, _request: Request) -> Response:
        """Write what a review has changed beside its annotations."""
        file = self.store.folder / PATCH
        with self._patching:
            try:
                found = write_patch(self.store.folder, file)
            except OSError as fault:
                raise StampError(f"{file}: {fault.strerror}") from None
            except StampError:
                file.unlink(missing_ok=True)  # an older one holds no longer
                raise
        return json_answer(
            {"file": str(file), "records": len(found.patches), "open": found.open, "damaged": found.damaged}
        )

    def _propose(self, number: int, named: Named) -> Response:
        proposer = self._asked()
        pixels = self.images.pixels(number)
        with self._proposing:
            masks = proposer.propose(pixels, named.phrases)
        return json_answer({"model": proposer.name, "masks": [_encoded(mask) for mask in masks]})

    def _describe(self, request: Request) -> Response:
        """Phrases for what the model sees and draws; how many it names but does not draw."""
        proposer, pixels = self._asked(), self.images.pixels(_number(request))
        if proposer.describe is None:
            raise StampError(
                f"{proposer.name} proposes masks for phrases, but no phrases", "write them (n), then ask (*)"
            )
        with self._proposing:
            phrases = proposer.describe(pixels)
            masks = proposer.propose(pixels, phrases)
        drawn = [(said, _encoded(mask)) for said, mask in zip(phrases, masks, strict=True) if mask is not None]
        found = {"phrases": [said for said, _ in drawn], "masks": [mask for _, mask in drawn]}
        return json_answer({"model": proposer.name, "undrawn": len(phrases) - len(drawn), **found})

    def _asked(self) -> Proposer:
        if self.proposer is None:
            raise StampError("there is no model to ask", "start with --predict CHECKPOINT")
        return self.proposer

    def _hints(self, number: int, written: Written) -> Response:
        document = self.store.open(self.images.file(number)).document
        return json_answer(hints(document, written.phrases, written.mask, self.model))

    def _suggest(self, number: int, asked: Asked) -> Response:
        if asked.tool == "points":
            return self._clicked(number, asked)
        if asked.tool not in WITHOUT_WEIGHTS:
            raise StampError(f"nothing here is called {asked.tool[:40]!r}")
        try:
            return json_answer(WITHOUT_WEIGHTS[asked.tool](self.images.pixels(number), asked.places))
        except ModuleNotFoundError as fault:
            raise lacking_module(fault) or fault from None

    def _clicked(self, number: int, asked: Asked) -> Response:
        if self.clicker is None:
            raise StampError("there is no SAM to ask", "start with --assist sam=PATH")
        if len(asked.box) == 1 or not (asked.places or asked.box):
            raise StampError("this takes a place that is inside, or a box")
        pixels = self.images.pixels(number)
        masks = self.clicker.find(pixels, asked.places, asked.outside, asked.box)
        found = [rle.encode(mask.view(np.uint8)) for mask in masks if mask.any()]
        return json_answer(Suggestion(found, model=self.clicker.name))

    def _saved(self, opened: Opened, whole: bool = False) -> Saved:
        journal, document = opened.journal, opened.document
        undo, redo = journal.undoable is not None, journal.redoable is not None
        row = row_of(document.image.path, document)
        return Saved(document.revision, undo, redo, row, document if whole else None)

    def _row(self, name: str) -> Row:
        seen = self.store.seen(name)
        kept = self._rows.get(name)
        if kept is None or kept[0] != seen:
            kept = self._rows[name] = seen, self._read_row(name)
        return kept[1]

    def _read_row(self, name: str) -> Row:
        try:
            return row_of(name, self.store.peek(name))
        except StampError as fault:
            return Row(name, "damaged", fault=str(fault))


def _encoded(mask: npt.NDArray[np.bool_] | None) -> RLE | None:
    return None if mask is None else rle.encode(mask.view(np.uint8))


def _posted(path: str, answer: Callable[[int, Any], Response], kind: type[Any], most: int = MOST_SENT) -> Route:
    """Where a value is sent, of at most so many bytes, about the picture of a number; the answer may take its time."""

    async def endpoint(request: Request) -> Response:
        sent = msgspec.json.decode(await body(request, most), type=kind)
        return await run_in_threadpool(answer, _number(request), sent)

    return Route(path, endpoint, methods=["POST"])


def _number(request: Request) -> int:
    return int(request.query_params.get("image", ""))


def open_server(
    images: Images, store: Store, port: int = 0, model: Model = USUAL, models: Models = NO_MODELS
) -> LoopbackServer:
    """The server of the page, see `LoopbackServer`. model: that is to learn from it; models: that are asked."""
    served = AnnotatePage(images, store, model, models)
    return LoopbackServer(served.routes(), POLICY, served.close, port)
