"""The conversations of a page server, and the one thread that works for the model."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any

from PIL import Image

from stamp_schemas import StampError
from stamp_train.generation.replies import Event as Said
from stamp_train.predict.dialogue import Chat
from stamp_train.predict.segmentation import Segmentation
from stamp_train.predict.segmenter import Segmenter

MOST_HELD = 8  # conversations; each holds what the model has read
PATIENCE = 5.0  # seconds that the end of a single answer is waited for


@dataclass(eq=False)
class Conversation:
    """A page's conversation, about the picture of that name.

    id: what the page calls it by. answering: held while an answer is in the making; stopped: set to end it. outlines: SVG
    paths of masks, which take too long to trace them again whenever the page is drawn. model: name of the one that answers.
    """

    chat: Chat
    name: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    answering: Lock = field(default_factory=Lock)
    stopped: Event = field(default_factory=Event)
    outlines: dict[Segmentation, list[str]] = field(default_factory=dict)

    @property
    def image(self) -> Image.Image:
        """The picture as the model sees it: upright, RGB."""
        assert self.chat.image is not None  # conversations are opened with one
        return self.chat.image


class Conversations:
    """Conversations by id, the oldest forgotten; steps of their answers take turns at the model.

    model: its name. picture: that the command was given, and its name. options: fields of `GenerationOptions`. others: what
    opens further models, by name; each is opened when it is first chosen, and kept.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        model: str,
        picture: tuple[Image.Image, str],
        options: Mapping[str, Any],
        others: Mapping[str, Callable[[], Segmenter]] | None = None,
    ) -> None:
        self.models = [model, *(others or {})]
        self._others, self._opened = dict(others or {}), {model: segmenter}
        self._picture, self._options = picture, options
        self._held: dict[str, Conversation] = {}
        self._lock = Lock()
        # Its queue is what is fair: pages that answer at the same time get a token each by turns.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    def open(self, picture: tuple[Image.Image, str] | None = None, model: str = "") -> Conversation:
        """A new conversation about a picture of that name, or about the one that the command was given.

        model: one of `models`, the first if not given. StampError if there is no such, or it cannot be opened.
        """
        image, name = picture or self._picture
        model = model or self.models[0]
        made = Conversation(self._worker.submit(self._begin, image, model).result(), name, model)
        with self._lock:
            idle = [one for one in self._held.values() if not one.answering.locked()]
            for old in idle[: max(0, len(self._held) + 1 - MOST_HELD)]:
                del self._held[old.id]
            self._held[made.id] = made
        return made

    def _begin(self, image: Image.Image, model: str) -> Chat:
        if model not in self.models:
            raise StampError(f"{model!r} is none of the models that the command was given", "--other CKPT adds one")
        if model not in self._opened:
            self._opened[model] = self._others[model]()
        return self._opened[model].chat(image, **self._options)

    def find(self, name: str) -> Conversation | None:
        """The conversation of that id, from now on the youngest; None if there is none."""
        with self._lock:
            found = self._held.pop(name, None)
            if found is not None:
                self._held[name] = found
            return found

    def answer(self, conversation: Conversation, question: str, begin: str | None) -> Iterator[Said]:
        """The events of the next round, until its end or until `conversation.stopped`; called with `answering` held."""
        events = conversation.chat.stream(question, begin)
        try:
            while not conversation.stopped.is_set():
                event = self._worker.submit(next, events, None).result()
                if event is None:
                    return
                yield event
        finally:
            self._worker.submit(events.close).result()  # type: ignore[attr-defined]

    def close(self) -> None:
        """End what is being answered, and the model's thread."""
        with self._lock:
            held = list(self._held.values())
        for conversation in held:
            conversation.stopped.set()
        for conversation in held:
            conversation.answering.acquire(timeout=PATIENCE)  # never released: nothing is answered any more
        self._worker.shutdown()
