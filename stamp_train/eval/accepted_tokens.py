"""What else an answer could have said: the other wordings that the same build would have drawn for it.

Which of its wordings an answer has is drawn at random, so no model can know it: a likeliest token that goes on with another
one of them is as right as the token that stands there.
"""

from __future__ import annotations

from collections.abc import Sequence

from stamp_data.instructions import alternatives
from stamp_schemas import Dialogue
from stamp_schemas.record import SEG
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.layout import in_words


def right_tokens(
    dialogue: Dialogue, wording: str, chat: ChatEncoder, masks: Sequence[str] = ()
) -> list[tuple[int, frozenset[int]]]:
    """Every token that the assistant says in a dialogue, each with all that would be right in its place.

    wording: that its set was built with (`Settings.wording`). masks: what stands for every `<|seg|>`, where masks are written.
    """
    tokens = []
    left = list(masks)
    answers = (message for message in dialogue.messages if message.role == "assistant")
    for number, message in enumerate(answers):
        text = "".join(part.text for part in message.content)
        own, left = left[: text.count(SEG)], left[text.count(SEG) :]
        said = _ids(text, own, chat)
        others = [
            _ids(one, own, chat)
            for one in alternatives(text, "answers", dialogue.said(number), text.count(SEG), wording)
        ]
        for place, token in enumerate(said):
            going_on = (other[place] for other in others if len(other) > place and other[:place] == said[:place])
            tokens.append((token, frozenset([token, *going_on])))
    return tokens


def _ids(text: str, masks: Sequence[str], chat: ChatEncoder) -> list[int]:
    written = in_words(text, iter(masks)) if masks else text
    return [*chat.answer_ids(written), chat.control["<|im_end|>"]]
