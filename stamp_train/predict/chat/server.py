"""`chat --web`: conversations as a local page, see `stamp_data.web.guard` for who may ask and `page` for what is seen."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stamp_data.pixels import decode_picture, encoded
from stamp_data.web.answers import Lines, body, json_answer
from stamp_data.web.files import POLICY, PageFiles
from stamp_data.web.server import LoopbackServer
from stamp_schemas import StampError
from stamp_schemas.record import SEG
from stamp_train.predict.chat.conversations import Conversation, Conversations
from stamp_train.predict.chat.transcript import transcript
from stamp_train.predict.chat.views import MaskView, State, early_mask, view

FILES = PageFiles("stamp_train.predict.chat.page", "STAMP chat")
MOST_UPLOADED = 64 * 2**20  # bytes of a picture
MOST_ASKED = 2**18  # bytes of a question
MOST_HEAT = 2.0  # temperature
PATIENCE = 30.0  # seconds that a page which was reloaded waits for its answer to stop


class Asked(msgspec.Struct):
    """A question as the page sends it. force_mask: the answer begins with a mask. temperature, seed: of sampling, where they
    are to be others than before.
    """

    text: str
    force_mask: bool = False
    temperature: Annotated[float, Meta(ge=0, le=MOST_HEAT)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**31)] | None = None


class Said(msgspec.Struct, omit_defaults=True):
    """One line of an answer. kind: `text`, `seg`, `mask` (of the `seg` before, where it is there at once), `state` (the last
    one) or `fault`."""

    kind: str
    text: str = ""
    mask: MaskView | None = None
    state: State | None = None


class ChatPage:
    """The page, and what its scripts ask for."""

    def __init__(self, conversations: Conversations) -> None:
        self.conversations = conversations

    def routes(self) -> list[Route]:
        """What can be asked of the server."""
        return [
            Route("/api/open", self._open, methods=["POST"]),
            Route("/api/state", self._resume),
            Route("/api/picture", self._picture),
            Route("/api/mask", self._mask),
            Route("/api/save", self._save),
            Route("/api/say", self._say, methods=["POST"]),
            Route("/api/stop", self._stop, methods=["POST"]),
            Route("/api/undo", self._undo, methods=["POST"]),
            *FILES.routes(),
        ]

    async def _open(self, request: Request) -> Response:
        data, asked = await body(request, MOST_UPLOADED), request.query_params
        return await run_in_threadpool(
            self._opened, data, asked.get("name", ""), asked.get("model", ""), asked.get("chat", "")
        )

    def _opened(self, data: bytes, name: str, model: str, like: str) -> Response:
        """like: id of a conversation whose picture is meant where no file is sent."""
        picture = (decode_picture(data, "the file", upright=True), name or "picture") if data else None
        before = self.conversations.find(like) if like and not data else None
        if before is not None:
            picture = (before.image, before.name)
        return self._state(self.conversations.open(picture, model))

    def _resume(self, request: Request) -> Response:
        """For a page that was reloaded: whatever was being answered is heard by nobody any more."""
        conversation = self._find(request)
        conversation.stopped.set()
        with _turn(conversation, PATIENCE):
            pass
        return self._state(conversation)

    def _undo(self, request: Request) -> Response:
        conversation = self._find(request)
        with _turn(conversation):
            conversation.chat.undo()
        return self._state(conversation)

    async def _stop(self, request: Request) -> Response:
        """Without a thread, which so many answers may have taken."""
        self._find(request).stopped.set()
        return json_answer({})

    async def _say(self, request: Request) -> Response:
        conversation = self._find(request)
        asked = msgspec.json.decode(await body(request, MOST_ASKED), type=Asked)
        if not asked.text.strip():
            raise StampError("nothing is asked")
        with ExitStack() as held:
            held.enter_context(_turn(conversation))
            said = held.enter_context(closing(self._said(conversation, asked)))
            return Lines(said, held.pop_all().close)

    def _said(self, conversation: Conversation, asked: Asked) -> Generator[Said, None, None]:
        conversation.stopped.clear()
        changes = {"temperature": asked.temperature, "seed": asked.seed}
        conversation.chat.configure(**{name: value for name, value in changes.items() if value is not None})
        masks = 0
        try:
            for event in self.conversations.answer(conversation, asked.text, SEG if asked.force_mask else None):
                if event.kind == "text":
                    yield Said("text", event.text)
                elif event.text == SEG:
                    yield Said("seg")
                elif event.mask is not None:
                    yield Said("mask", mask=early_mask(conversation, event.mask, masks))
                    masks += 1
            yield Said("state", state=view(conversation, self.conversations.models))
        except StampError as fault:
            yield Said("fault", str(fault))

    def _picture(self, request: Request) -> Response:
        """Without whatever else was in the file."""
        picture = encoded(self._find(request).image, "JPEG", quality=92, subsampling=0)
        return Response(picture, media_type="image/jpeg")

    def _mask(self, request: Request) -> Response:
        """A mask of the conversation, by its number from 1, as a black and white PNG of the picture's size."""
        conversation, number = self._find(request), int(request.query_params.get("number", ""))
        masks = [mask for answer in conversation.chat.history for mask in answer.masks]
        if not 1 <= number <= len(masks):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        headers = {"Content-Disposition": f'attachment; filename="mask-{number}.png"'}
        return Response(encoded(Image.fromarray(masks[number - 1])), headers=headers, media_type="image/png")

    def _save(self, request: Request) -> Response:
        conversation = self._find(request)
        saved = transcript(conversation.chat, conversation.model, conversation.name)
        headers = {"Content-Disposition": 'attachment; filename="chat.json"'}
        return Response(saved.json(), headers=headers, media_type="application/json")

    def _state(self, conversation: Conversation) -> Response:
        return json_answer(view(conversation, self.conversations.models))

    def _find(self, request: Request) -> Conversation:
        found = self.conversations.find(request.query_params.get("chat", ""))
        if found is None:
            raise HTTPException(HTTPStatus.GONE, "This conversation has been closed; here is a new one.")
        return found


@contextmanager
def _turn(conversation: Conversation, patience: float = 0.0) -> Iterator[None]:
    """The conversation to oneself; HTTPException if an answer is in the making, even after so many seconds."""
    if not conversation.answering.acquire(timeout=patience):
        raise HTTPException(HTTPStatus.CONFLICT, "This conversation is still being answered.")
    try:
        yield
    finally:
        conversation.answering.release()


def open_server(conversations: Conversations, port: int = 0) -> LoopbackServer:
    """The server of the page, see `LoopbackServer`; at its end it closes the conversations."""
    return LoopbackServer(ChatPage(conversations).routes(), POLICY, conversations.close, port)
