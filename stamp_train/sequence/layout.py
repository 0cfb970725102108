"""From dialogues to one packed sequence: tokens, positions, targets and the structure that attention derives from.

    [image prefix] [dialogue 1] [its masks] ... [dialogue k] [its masks] [next image's prefix] ...

Dialogues of one image that begin alike share the prefix up to the end of the image; what a method lays out for masks follows
the text of their dialogue, or stands in it right after the `<|seg|>`, where later text is to see it. This module is the only
one that knows the order of a sequence. What a token may attend to is decided by `stamp_train.sequence.structure`, from the
facts written here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_schemas.record import SEG
from stamp_train.sequence.chat import ChatEncoder, EncodedDialogue, Message
from stamp_train.sequence.document import Document, Grid, Ints, Put, Seg, Stretch, merged_grid
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import DialogueExample, ImageExample, PackedBatch
from stamp_train.sequence.inputs import Targets
from stamp_train.sequence.token_sequence import TokenSequence

Label = NDArray[np.uint8]
logger = logging.getLogger(__name__)
NOTHING = ImageExample([DialogueExample("nothing", [{"role": "user", "content": ""}])])  # of which nothing is learned


class LaysOut(Protocol):
    """What a layout asks of a method, see `stamp_train.methods.contract`."""

    @property
    def settings(self) -> Any: ...

    def write(self, label: Label, expression: str) -> str | None: ...

    def stretch(self, grid: Grid, control: Mapping[str, int]) -> Stretch | None: ...

    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None: ...


class Layout:
    """Lays out dialogues for one tokenizer and one method; StampModelError if the tokenizer lacks a token of the method.

    max_position: rotary positions stay below it (the model's `max_position_embeddings`). text_labels: `answers` supervises
    what assistants say; `all` every token, image placeholders included, as the published trainer does.
    """

    def __init__(
        self, chat: ChatEncoder, method: LaysOut, max_position: int = 32768, *, text_labels: str = "answers"
    ) -> None:
        chat.require(method.settings.tokens)
        self.chat, self.method = chat, method
        self.max_position, self.text_labels = max_position, text_labels
        self.dropped = 0  # dialogues so far, see `PackedBatch.dropped`

    def masks_in_words(self, example: DialogueExample) -> list[str]:
        """What stands for each `<|seg|>` of a dialogue; empty where that is a token."""
        of = chain(example.expressions, repeat(""))
        texts = (self.method.write(label, expression) for label, expression in zip(example.labels, of, strict=False))
        return [text for text in texts if text is not None]

    def __call__(self, images: Sequence[ImageExample]) -> PackedBatch:
        """Pack images and text-only dialogues into one sequence.

        StampModelError, which names the dialogue: a grid that disagrees with pixel values or labels, pixel values that are not
        finite, a `<|seg|>` without a label or the reverse, or positions past the model's range.
        """
        packing = _Packing(self)
        for image in images:
            image.check()
            packing.image(image)
        if not packing.sequence.length and packing.dropped:
            packing.image(NOTHING)
        if not packing.sequence.length:
            raise StampModelError("nothing to lay out", fix="pass at least one image with a dialogue")
        return packing.finish()


@dataclass
class _Branch:
    """A dialogue after its prefix: ids from the first token that it does not share."""

    example: DialogueExample
    ids: list[int]
    answer: list[bool]


class _Packing:
    """A batch in the making."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.chat, self.method = layout.chat, layout.method
        self.sequence = TokenSequence(self.chat)
        self.text_rows: list[int] = []
        self.text_ids: list[int] = []
        self.text_weights: list[float] = []
        self.pixel_values: list[Tensor] = []
        self.grids: list[tuple[int, int, int]] = []
        self.features = self.documents = 0
        self.names: list[str] = []
        self.dropped: list[str] = []

    def image(self, image: ImageExample) -> None:
        """One image: its dialogues, grouped into documents by the prefix they share."""
        grid = None if image.grid_thw is None else merged_grid(image.grid_thw)
        apart = self.method.settings.looks_ahead
        groups: dict[tuple[tuple[int, ...], int], list[_Branch]] = {}
        for number, given in enumerate(image.dialogues):
            example = self.spell(given)
            encoded = self.chat.encode(example.messages, name=example.name)
            if (encoded.image_at is None) != (grid is None):
                raise StampModelError(
                    "messages and pixels disagree on whether there is an image",
                    where=example.name,
                    fix="put exactly one image item into the messages of a dialogue about an image",
                )
            if example is not given and not self.has_room(encoded, grid):
                self.drop(example.name)
                continue
            # Text-only dialogues share nothing, nor do those whose image looks ahead: each is a document of its own.
            start = 0 if encoded.image_at is None else encoded.image_at + 2
            key = tuple(encoded.ids[:start]), number if apart or not start else -1
            groups.setdefault(key, []).append(_Branch(example, encoded.ids[start:], encoded.answer[start:]))
        for (opening, _), branches in groups.items():
            self.document(opening, branches, grid)
        if groups and image.pixel_values is not None and image.grid_thw is not None and grid is not None:
            self.pixel_values.append(image.pixel_values)
            self.grids.append(image.grid_thw)
            self.features += grid[0] * grid[1]

    def spell(self, example: DialogueExample) -> DialogueExample:
        """With its masks as text, where the method writes them; nothing else is learned of those."""
        texts = self.layout.masks_in_words(example)
        return replace(example, messages=_written(example, texts), labels=()) if texts else example

    def has_room(self, encoded: EncodedDialogue, grid: Grid | None) -> bool:
        """Whether a dialogue with nothing laid out behind it stays in the model's range."""
        longer = max(grid) - 1 if grid else 0
        return len(encoded.ids) - 1 + longer < self.layout.max_position

    def drop(self, name: str) -> None:
        """Leave out a dialogue whose masks, written out, are longer than the model can take: a mask is never cut."""
        self.dropped.append(name)
        self.layout.dropped += 1
        told = "%s is left out: its masks, written out, go past position %d (%d such dialogues so far)"
        logger.warning(told, name, self.layout.max_position, self.layout.dropped)

    def document(self, opening: tuple[int, ...], branches: list[_Branch], grid: Grid | None) -> None:
        """A prefix and its branches."""
        self.documents += 1
        document = Document(self.documents, opening, grid or (0, 0), len(self.grids), self.features)
        if self.method.settings.looks_ahead and any(self.chat.seg_id in branch.ids for branch in branches):
            document.looks_for = self.chat.seg_id
        prefix = document.prefix()
        document.begins = self.sequence.length
        rows = self.sequence.put(prefix)
        if self.layout.text_labels == "all":
            self.supervise(rows[:-1], prefix.ids[1:], float(len(branches)))
        before = self.sequence.length - 1  # predicts the first token of every branch, wherever that lies
        for number, branch in enumerate(branches, start=1):
            self.branch(number, branch, document, before)

    def branch(self, number: int, branch: _Branch, document: Document, before: int) -> None:
        """The text of a dialogue, then what stands for its masks."""
        example = branch.example
        self.names.append(example.name)
        self.sequence.highest = -1
        labels = self.labels(example, branch.ids.count(self.chat.seg_id), document)
        branch, puts = self.woven(branch, document, labels)
        text = document.text(branch.ids, number, puts=puts)
        rows = self.sequence.put(text)
        sources = np.concatenate([[before], rows[:-1]])
        wanted = np.array(branch.answer) if self.layout.text_labels == "answers" else np.ones(len(rows), dtype=bool)
        if not document.length:
            wanted[0] = False  # nothing comes before the first token of a text-only dialogue
        self.supervise(sources[wanted], text.ids[wanted], 1.0)
        segs = np.flatnonzero(text.ids == self.chat.seg_id).tolist()
        for at, label in zip(segs, labels, strict=True):
            seg = Seg(example.name, document, number, branch.ids, at, int(rows[at]), int(sources[at]), puts=puts)
            self.method.lay_out(self.sequence, seg, label)
        if self.sequence.highest >= self.layout.max_position:
            raise StampModelError(
                f"position {self.sequence.highest} is past the model's range of {self.layout.max_position}",
                where=example.name,
                fix="lower the image's token bound",
            )

    def woven(self, branch: _Branch, document: Document, labels: Sequence[Label]) -> tuple[_Branch, list[Put]]:
        """A dialogue with what the method puts into it, and that by itself."""
        stretch = self.method.stretch(document.grid, self.chat.control) if labels else None
        if stretch is None:
            return branch, []
        ids, answer, puts, at = list(branch.ids), list(branch.answer), list[Put](), -1
        for label in labels:
            at = ids.index(self.chat.seg_id, at + 1)
            puts.append(Put(at, stretch, np.asarray(label, np.int64)))
            ids[at + 1 : at + 1] = stretch.ids
            answer[at + 1 : at + 1] = [False] * len(stretch.ids)
        return _Branch(branch.example, ids, answer), puts

    def labels(self, example: DialogueExample, segs: int, document: Document) -> Sequence[Label]:
        """The labels of the `<|seg|>` that are there, if everything fits."""
        if segs and not document.patches:
            raise StampModelError("<|seg|> in a dialogue without an image", where=example.name)
        if segs != len(example.labels):
            raise _unequal(example, segs)
        return example.labels

    def supervise(self, rows: Ints, ids: Ints, weight: float) -> None:
        """The tokens `ids` are to be predicted at `rows`."""
        self.text_rows.extend(rows.tolist())
        self.text_ids.extend(ids.tolist())
        self.text_weights.extend([weight] * len(rows))

    def finish(self) -> PackedBatch:
        """The sequence as tensors."""
        inputs = self.sequence.inputs(
            self.text_rows,
            pixel_values=torch.cat(self.pixel_values) if self.pixel_values else None,
            image_grid_thw=torch.tensor(self.grids, dtype=torch.int64) if self.grids else None,
        )
        labels = self.sequence.labels
        sizes = torch.tensor([len(label) for label in labels], dtype=torch.int64)
        targets = Targets(
            text_ids=torch.tensor(self.text_ids, dtype=torch.int64),
            text_weights=torch.tensor(self.text_weights, dtype=torch.float32),
            labels=torch.cat(labels) if labels else torch.zeros(0, 1, dtype=torch.uint8),
            mask_of=torch.arange(len(labels)).repeat_interleave(sizes),
            masks=len(labels),
            sizes=tuple(self.sequence.sizes),
        )
        return PackedBatch(inputs, targets, tuple(self.names), tuple(self.dropped))


def _unequal(example: DialogueExample, segs: int) -> StampModelError:
    return StampModelError(
        f"{segs} <|seg|> but {len(example.labels)} targets", where=example.name, fix="give one label per <|seg|>"
    )


def in_words(text: str, masks: Iterator[str]) -> str:
    """A text with every `<|seg|>` replaced by the next mask's words."""
    return re.sub(re.escape(SEG), lambda found: next(masks, found[0]), text)


def _written(example: DialogueExample, texts: Sequence[str]) -> list[Message]:
    """The messages with every `<|seg|>` of an assistant replaced by the next text."""
    left, segs = iter(texts), 0
    found: list[Message] = []
    for message in example.messages:
        content = message["content"]
        if message["role"] == "assistant":
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            segs += sum(part["text"].count(SEG) for part in parts)
            content = [{**part, "text": in_words(part["text"], left)} for part in parts]
        found.append({**message, "content": content})
    if segs != len(texts):
        raise _unequal(example, segs)
    return found
