"""Dialogues to token ids: ChatML as the published checkpoints use it, safe against control tokens in people's text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stamp_schemas.record import SEG
from stamp_train.sequence.errors import StampModelError

YES, NO = "<|yes|>", "<|no|>"
_CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
# What an assistant may say beyond text. Everything else that looks like a control token stays text, whoever wrote it.
SPEAKABLE = (SEG, YES, NO)
_SPEAKABLE = re.compile("(" + "|".join(map(re.escape, SPEAKABLE)) + ")")


@dataclass(frozen=True)
class ChatLayout:
    """How a family of models frames dialogues, in ChatML. system: the line of those that have none of their own, if any."""

    system: str = ""

    @property
    def frame(self) -> tuple[str, ...]:
        """What is written into every dialogue, whatever it says: tokenised once."""
        return (self.system, "system\n", "user\n", "assistant\n", "\n")

    @property
    def template(self) -> str:
        """The same in the language of chat templates, for other programs; there control tokens in texts are obeyed."""
        opening = (
            "{%- if loop.first and message['role'] != 'system' %}"
            "{{- '<|im_start|>system\n" + self.system + "<|im_end|>\n' }}"
            "{%- endif %}"
        )
        return (
            "{%- for message in messages %}"
            + (opening if self.system else "")
            + "{{- '<|im_start|>' + message['role'] + '\n' }}"
            "{%- if message['content'] is string %}{{- message['content'] }}"
            "{%- else %}{%- for part in message['content'] %}"
            "{%- if part['type'] == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
            "{%- else %}{{- part['text'] }}{%- endif %}"
            "{%- endfor %}{%- endif %}"
            "{{- '<|im_end|>\n' }}"
            "{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
        )


ASSISTED = ChatLayout("You are a helpful assistant.")

Message = Mapping[str, Any]


@dataclass(frozen=True)
class EncodedDialogue:
    """Token ids of a dialogue, one `<|image_pad|>` per image not yet repeated for its patches.

    answer: for each token, whether an assistant says it (its `<|im_end|>` too). image_at: index of the `<|image_pad|>`.
    """

    ids: list[int]
    answer: list[bool]
    image_at: int | None


class ChatEncoder:
    """ChatML with the control tokens of Qwen's models and those that a method adds; `control` has their ids.

    Headers, texts and control tokens are tokenised apart. For text that does not begin with a line break this gives the ids of
    the checkpoints' chat template; and a training sequence is always the generation prompt followed by the answer. tokenizer:
    a fast one of transformers; StampModelError if it lacks a control token.
    """

    def __init__(self, tokenizer: Any, layout: ChatLayout = ASSISTED) -> None:
        self.tokenizer, self.layout = tokenizer, layout
        self._vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.control: dict[str, int] = {}
        self._frame: dict[str, list[int]] = {}
        self.require([*_CHAT_TOKENS, *(token for token in SPEAKABLE if token in self._vocabulary)])
        self._frame = {text: self.text_ids(text) for text in layout.frame}

    def require(self, tokens: Sequence[str]) -> None:
        """Make sure of more control tokens; StampModelError if the tokenizer lacks one."""
        missing = [token for token in tokens if token not in self._vocabulary]
        if missing:
            raise StampModelError(
                f"the tokenizer has no {', '.join(missing)}",
                fix="load a STAMP checkpoint's tokenizer, or add them with stamp_train.sequence.tokens.add_tokens",
            )
        self.control |= {token: int(self._vocabulary[token]) for token in tokens}
        self._control_ids = frozenset(self.control.values())

    @property
    def seg_id(self) -> int:
        """Id of `<|seg|>`; -1, which no token has, where masks are said otherwise."""
        return self.control.get(SEG, -1)

    @property
    def image_id(self) -> int:
        """Id of `<|image_pad|>`."""
        return self.control["<|image_pad|>"]

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain text, in which control tokens stay text; StampModelError if the tokenizer makes one of it."""
        if text in self._frame:
            return list(self._frame[text])
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if not self._control_ids.isdisjoint(ids):
            raise StampModelError(
                f"the tokenizer reads a control token in the text {text[:60]!r}",
                fix="use a fast tokenizer whose control tokens are marked special",
            )
        return ids

    def answer_ids(self, text: str) -> list[int]:
        """Ids of what an assistant says: `<|seg|>`, `<|yes|>` and `<|no|>` are control tokens, the rest is text."""
        ids: list[int] = []
        for part in _SPEAKABLE.split(text):
            if part in self.control:
                ids.append(self.control[part])
            elif part:
                ids.extend(self.text_ids(part))
        return ids

    def encode(
        self, messages: Sequence[Message], *, name: str | None = None, generation_prompt: bool = False
    ) -> EncodedDialogue:
        """Token ids of a dialogue; the layout's system line is put in front if there is none.

        messages: `role` and `content`, which is a string or a list of `{"type": "image"}` and `{"type": "text", "text": ...}`.
        generation_prompt: end with the header of an assistant turn. StampModelError, which names the dialogue: no messages, an
        unknown kind of content, more than one image, or an image from the assistant.
        """
        if not messages:
            raise StampModelError("a dialogue without messages", where=name)
        turns = list(messages)
        if turns[0].get("role") != "system" and self.layout.system:
            turns.insert(0, {"role": "system", "content": self.layout.system})
        writer = _Writer(self, name)
        for turn in turns:
            writer.turn(turn)
        if generation_prompt:
            writer.header("assistant")
        return EncodedDialogue(writer.ids, writer.answer, writer.image_at)


class _Writer:
    """A dialogue in the making."""

    def __init__(self, chat: ChatEncoder, name: str | None) -> None:
        self.chat = chat
        self.name = name
        self.ids: list[int] = []
        self.answer: list[bool] = []
        self.image_at: int | None = None

    def put(self, ids: Sequence[int], answer: bool = False) -> None:
        self.ids.extend(ids)
        self.answer.extend([answer] * len(ids))

    def header(self, role: str) -> None:
        self.put([self.chat.control["<|im_start|>"], *self.chat.text_ids(f"{role}\n")])

    def turn(self, message: Message) -> None:
        role = message.get("role")
        if role not in ("system", "user", "assistant"):
            raise StampModelError(f"a message of role {role!r}", where=self.name, fix="use system, user or assistant")
        by_assistant = role == "assistant"
        self.header(role)
        for part in _join_texts(message.get("content")):
            if part.get("type") == "image" and not by_assistant:
                self.image()
            elif part.get("type") == "text":
                self.put(
                    self.chat.answer_ids(part["text"]) if by_assistant else self.chat.text_ids(part["text"]),
                    by_assistant,
                )
            else:
                raise StampModelError(
                    f"content of type {part.get('type')!r} in a message of role {role!r}",
                    where=self.name,
                    fix="content is text, and images from system or user",
                )
        self.put([self.chat.control["<|im_end|>"]], by_assistant)
        self.put(self.chat.text_ids("\n"))

    def image(self) -> None:
        if self.image_at is not None:
            raise StampModelError(
                "more than one image in a dialogue", where=self.name, fix="a dialogue is about one image"
            )
        control = self.chat.control
        self.put([control["<|vision_start|>"], control["<|image_pad|>"], control["<|vision_end|>"]])
        self.image_at = len(self.ids) - 2


def _join_texts(content: Any) -> list[Mapping[str, Any]]:
    """Content as a list, neighbouring texts made one, so that how a text is cut does not change its tokens."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    joined: list[Mapping[str, Any]] = []
    for part in content or ():
        if part.get("type") == "text" and joined and joined[-1].get("type") == "text":
            joined[-1] = {"type": "text", "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined
