"""Masks out of an answer while it is being written: what stands between `<seg>` and `</seg>` is a mask and is not shown."""

from __future__ import annotations

from stamp_schemas.record import SEG
from stamp_train.methods.contract import Pieces
from stamp_train.methods.text4seg.codec import CLOSE, OPEN

BEGIN = f"\n{OPEN}"  # a mask begins a line, which nobody needs to see


class MaskListener:
    """Hears one answer. A mask is passed on as `<|seg|>` as soon as its text is complete."""

    def __init__(self) -> None:
        self._held = ""  # text that may be, or is, the beginning of a mask

    def hear(self, pieces: Pieces) -> Pieces:
        """The pieces to pass on; what may still become a mask is held back."""
        heard: Pieces = []
        for kind, text in pieces:
            if kind == "text":
                heard += self._text(text)
            else:
                heard += [*self.end(), (kind, text)]
        return heard

    def end(self) -> Pieces:
        """What was held back, when the answer ends; of a mask that was not finished, that there is one."""
        held, self._held = self._held, ""
        if OPEN in held:
            return [("control", SEG)]
        return [("text", held)] if held else []

    def _text(self, text: str) -> Pieces:
        self._held += text
        heard: Pieces = []
        while OPEN in self._held:
            before, _, mask = self._held.partition(OPEN)
            heard += _said(before.removesuffix("\n"))
            self._held = OPEN + mask
            if CLOSE not in mask:
                return heard
            heard.append(("control", SEG))
            self._held = mask.partition(CLOSE)[2]
        shown = len(self._held) - _waiting(self._held)
        heard += _said(self._held[:shown])
        self._held = self._held[shown:]
        return heard


def _said(text: str) -> Pieces:
    return [("text", text)] if text else []


def _waiting(text: str) -> int:
    """How many characters at the end of a text may be the beginning of a mask."""
    return max(size for begin in (OPEN, BEGIN) for size in range(len(begin)) if text.endswith(begin[:size]))
