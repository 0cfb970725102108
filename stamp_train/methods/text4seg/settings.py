"""What a recipe and a checkpoint say of masks as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from stamp_train.methods.contract import Settings
from stamp_train.methods.text4seg.codec import BACKGROUND, CLOSE, FIXED, OPEN

_TOKENS_PER_ROW = {"fixed": 9, "expression": 11}


class Text4SegSettings(Settings, frozen=True, tag_field="name", tag="text4seg"):
    """Settings of masks as run-length text; the defaults are the published ones.

    grid: rows and columns that a picture is squeezed to. label: what is written for the mask's cells, the dialogue's
    `expression` (published; `object` where the published parser would lose it) or always the `fixed` word `object`. sampling: a
    cell is what lies at its centre (`nearest`, published) or what covers more than half of it (`coverage`). parser: of answers,
    see `codec.parse`.
    """

    title: ClassVar[str] = "masks as run-length text, as in Text4Seg"
    home: ClassVar[str] = "stamp_train.methods.text4seg.method:Text4Seg"
    tokens: ClassVar[tuple[str, ...]] = ()
    written: ClassVar[bool] = True
    remarks: ClassVar[tuple[str, ...]] = (
        "regions to be ignored are learned as background: masks in text know no third kind",
    )

    grid: Literal[16, 24, 32] = 16
    label: Literal["expression", "fixed"] = "expression"
    sampling: Literal["nearest", "coverage"] = "nearest"
    parser: Literal["published", "tolerant"] = "published"

    def tokens_per_mask(self, patches: int) -> int:  # noqa: ARG002 - the text is as long whatever the image
        """An estimate, not a bound: the mean of masks on photographs with Qwen2-VL's tokenizer and an expression of six words.

        The index knows no outlines. A smooth mask takes 7 tokens to a row, a mask in a thousand pieces ten times as many.
        """
        return _TOKENS_PER_ROW[self.label] * self.grid

    def words(self) -> Iterable[str]:
        """Rows of masks."""
        for count in range(1, self.grid):
            yield f"\n{OPEN}{BACKGROUND} *{count}| {FIXED} *{count}| {BACKGROUND} *{count}\n {FIXED} *{count}\n{CLOSE}"
