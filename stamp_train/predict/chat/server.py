"""`chat --web`: conversations as a local page, see `loopback` for who may ask and `page` for what is seen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus

import msgspec

from stamp_data.pixels import decode_picture
from stamp_schemas import StampError
from stamp_schemas.record import SEG
from stamp_train.predict.chat import page
from stamp_train.predict.chat.conversations import Conversation, Conversations
from stamp_train.predict.chat.loopback import Call, LoopbackHandler, Refusal, open_server
from stamp_train.predict.chat.transcript import transcript
from stamp_train.predict.chat.views import State, view

MOST_UPLOADED = 64 * 2**20  # bytes of a picture
MOST_ASKED = 2**18  # bytes of a question
PATIENCE = 30.0  # seconds that a page which was reloaded waits for its answer to stop


class Asked(msgspec.Struct):
    """A question as the page sends it. force_mask: the answer begins with a mask."""

    text: str
    force_mask: bool = False


class Said(msgspec.Struct, omit_defaults=True):
    """One line of an answer. kind: `text`, `seg`, `state` (the last one) or `fault`."""

    kind: str
    text: str = ""
    state: State | None = None


class ChatHandler(LoopbackHandler):
    """The page, and what its scripts ask for."""

    policy = page.POLICY

    def __init__(self, token: str, conversations: Conversations, *arguments: object) -> None:
        self.conversations = conversations
        super().__init__(token, *arguments)

    def answer(self, call: Call) -> None:
        """See `LoopbackHandler.answer`."""
        match call.method, call.place:
            case "GET", "":
                self.send(*page.read(page.ENTRY))
            case "GET", name if name in page.FILES:
                self.send(*page.read(name))
            case "POST", "api/open":
                self._open(call.values.get("name", ""))
            case _, place if action := _ACTIONS.get((call.method, place)):
                action(self, self._find(call.values.get("chat", "")))
            case _:
                raise Refusal(HTTPStatus.NOT_FOUND)

    def _find(self, name: str) -> Conversation:
        found = self.conversations.find(name)
        if found is None:
            raise Refusal(HTTPStatus.GONE, "This conversation has been closed; here is a new one.")
        return found

    def _open(self, name: str) -> None:
        data = self.body(MOST_UPLOADED)
        self._send_state(
            self.conversations.open(
                (decode_picture(data, "the file", upright=True), name or "picture") if data else None
            )
        )

    def _resume(self, conversation: Conversation) -> None:
        """For a page that was reloaded: whatever was being answered is heard by nobody any more."""
        conversation.stopped.set()
        with _turn(conversation, PATIENCE):
            pass
        self._send_state(conversation)

    def _undo(self, conversation: Conversation) -> None:
        with _turn(conversation):
            conversation.chat.undo()
        self._send_state(conversation)

    def _stop(self, conversation: Conversation) -> None:
        conversation.stopped.set()
        self.send_json({})

    def _say(self, conversation: Conversation) -> None:
        asked = msgspec.json.decode(self.body(MOST_ASKED), type=Asked)
        if not asked.text.strip():
            raise StampError("nothing is asked")
        with _turn(conversation), closing(self._said(conversation, asked)) as said:
            self.send_lines(said)

    def _said(self, conversation: Conversation, asked: Asked) -> Generator[Said, None, None]:
        conversation.stopped.clear()
        try:
            for event in self.conversations.answer(conversation, asked.text, SEG if asked.force_mask else None):
                if event.kind == "text":
                    yield Said("text", event.text)
                elif event.text == SEG:
                    yield Said("seg")
            yield Said("state", state=view(conversation, self.conversations.model))
        except StampError as fault:
            yield Said("fault", str(fault))

    def _send_state(self, conversation: Conversation) -> None:
        self.send_json(view(conversation, self.conversations.model))

    def _send_picture(self, conversation: Conversation) -> None:
        self.send(conversation.picture(), "image/jpeg")

    def _save(self, conversation: Conversation) -> None:
        saved = transcript(conversation.chat, self.conversations.model, conversation.name)
        self.send(saved.json(), "application/json", Content_Disposition='attachment; filename="chat.json"')


_ACTIONS: dict[tuple[str, str], Callable[[ChatHandler, Conversation], None]] = {
    ("GET", "api/state"): ChatHandler._resume,
    ("GET", "api/picture"): ChatHandler._send_picture,
    ("GET", "api/save"): ChatHandler._save,
    ("POST", "api/say"): ChatHandler._say,
    ("POST", "api/stop"): ChatHandler._stop,
    ("POST", "api/undo"): ChatHandler._undo,
}
"""What can be done with a conversation."""


@contextmanager
def _turn(conversation: Conversation, patience: float = 0.0) -> Iterator[None]:
    """The conversation to oneself; Refusal if an answer is in the making, even after so many seconds."""
    if not conversation.answering.acquire(timeout=patience):
        raise Refusal(HTTPStatus.CONFLICT, "This conversation is still being answered.")
    try:
        yield
    finally:
        conversation.answering.release()


def serve(conversations: Conversations, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve the page until the caller is interrupted (KeyboardInterrupt passes through). on_ready: gets the address."""
    server, address = open_server(ChatHandler, conversations, port=port)
    try:
        on_ready(address)
        server.serve_forever()
    finally:
        server.server_close()
        conversations.close()
