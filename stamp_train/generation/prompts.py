"""What a caller asks for: images, prompts and options, checked and made ready for decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stamp_train.backbones.processor import PixelBatch, StampProcessor
from stamp_train.generation.branches import last_position
from stamp_train.generation.replies import Reply, SourceImage
from stamp_train.generation.sampling import GenerationOptions, TextStream
from stamp_train.sequence.chat import ChatEncoder, Message
from stamp_train.sequence.document import Document, Seg
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import check_pixels
from stamp_train.sequence.token_sequence import TokenSequence

Prompt = str | Sequence[Message]


def check_rows(model: Any, chat: ChatEncoder) -> None:
    """Refuse a tokenizer that lacks a token of the model's method, or whose control tokens have no embedding in the model."""
    chat.require(model.method.settings.tokens)
    rows = model.get_input_embeddings().weight.shape[0]
    lacking = [token for token, i in chat.control.items() if i >= rows]
    if lacking:
        raise StampModelError(
            f"the model has {rows} embedding rows, none for {', '.join(lacking)}",
            fix="load the tokenizer of the same checkpoint, or see stamp_train.sequence.tokens.prepare_rows",
        )


def open_image(processor: StampProcessor, image: Any, name: str) -> SourceImage | None:
    """An image as patches.

    StampModelError: an image that no model can take, or patches that are not finite or disagree with their grid.
    """
    if image is None:
        return None
    found = image if isinstance(image, PixelBatch) else processor.images([image])[0]
    check_pixels(found.pixel_values, found.grid_thw, name)
    return SourceImage(name, found.pixel_values, found.grid_thw)


def open_reply(
    model: Any,
    chat: ChatEncoder,
    source: SourceImage | None,
    place: tuple[int, int],
    prompt: Prompt,
    options: GenerationOptions,
) -> Reply:
    """The reply to a prompt, just begun; `place` is the index of the image and of the prompt.

    StampModelError: messages that are at fault or too long.
    """
    name = f"image {place[0]}, prompt {place[1]}"
    messages, begin = _messages(prompt, source is not None, options.begin, name)
    encoded = chat.encode(messages, name=name, generation_prompt=True)
    if (encoded.image_at is None) != (source is None):
        raise StampModelError(
            "messages and images disagree on whether there is an image",
            where=name,
            fix="put exactly one image item into the messages about an image",
        )
    shared = 0 if encoded.image_at is None else encoded.image_at + 2
    random = options.random(*place)
    stop_ids = frozenset(options.stop_ids or ())
    reply = Reply(*place, name, source, tuple(encoded.ids[:shared]), stop_ids, TextStream(chat), random)
    reply.listener = model.method.listener()
    _begin(reply, encoded.ids[shared:], begin, options, model, chat)
    return reply


def go_on(model: Any, chat: ChatEncoder, reply: Reply, question: str, options: GenerationOptions) -> None:
    """The next turn of a dialogue: end the answer before, ask, and begin the next.

    StampModelError: the dialogue becomes too long.
    """
    head: list[Message] = [{"role": "system", "content": ""}]
    before = len(chat.encode(head).ids)
    turn = chat.encode([*head, {"role": "user", "content": question}], generation_prompt=True).ids[before:]
    asked = [chat.control["<|im_end|>"], *chat.text_ids("\n"), *turn]
    _begin(reply, asked, options.begin, options, model, chat)
    reply.prompt += 1


def _messages(prompt: Prompt, image: bool, begin: str, name: str) -> tuple[Sequence[Message], str]:
    """A prompt as messages without the answer, and how the answer begins."""
    if isinstance(prompt, str):
        content = [{"type": "image"}] * image + [{"type": "text", "text": prompt}]
        return [{"role": "user", "content": content}], begin
    if not prompt or prompt[-1].get("role") != "assistant":
        return prompt, begin
    said = prompt[-1].get("content") or ""
    parts: Sequence[Mapping[str, Any]] = [{"type": "text", "text": said}] if isinstance(said, str) else said
    if any(part.get("type") != "text" for part in parts):
        raise StampModelError("an answer that begins with something other than text", where=name)
    return prompt[:-1], "".join(part["text"] for part in parts)


def _begin(
    reply: Reply, asked: Sequence[int], begin: str, options: GenerationOptions, model: Any, chat: ChatEncoder
) -> None:
    """Begin an answer with as much room as options and the model's positions leave, a mask at its end included."""
    limit = model.config.text_config.max_position_embeddings
    begin, least = model.method.force(begin)
    said = chat.answer_ids(begin)
    ids = [*reply.ids, *asked, *said]
    document = Document(1, reply.opening, reply.source.grid if reply.source else (0, 0))
    stretch = model.method.stretch(document.grid, chat.control) if reply.source else None
    highest, mask = last_position(document, ids, reply.puts, stretch, chat.seg_id), TokenSequence(chat)
    if stretch:
        highest += stretch.advance
    elif reply.source:
        model.method.lay_out(mask, Seg(reply.name, document, 1, (), len(ids) - 1), None)
        highest = max(highest, mask.highest)
    if highest >= limit:
        raise StampModelError(
            f"position {highest} is past the model's range of {limit}",
            where=reply.name,
            fix="shorten the dialogue, or lower the image's token bound",
        )
    reply.begin(asked, said, min(max(options.max_new_tokens, least), limit - 1 - highest))
