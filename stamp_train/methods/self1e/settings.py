"""What a recipe and a checkpoint say of SELF1E: how the language model sees the image for a mask, its labels, its losses."""

from __future__ import annotations

from typing import ClassVar, Literal

from stamp_schemas.recipe import Amount
from stamp_train.methods.contract import Settings


class Self1eSettings(Settings, frozen=True, tag_field="name", tag="self1e"):
    """Settings of SELF1E; the weights of the losses are the published ones.

    attention: whose states of the image are read: of a `branch` of copies of its tokens, which see all of it and the text up to
    their `<|seg|>`; of its own tokens, which see all of it and every `<|seg|>` of the dialogue (`published`: what is said
    before a `<|seg|>` is then said by a model that has seen it); or, `none`, of its own tokens as they are without that.
    targets: what is learned: exact `coverage` of the cells, or masks `resized` to at most 128 pixels on the shorter side
    (published). bce, dice: weights of the losses.
    """

    title: ClassVar[str] = "SELF1E, pixels of the vision tower refilled by the language model"
    home: ClassVar[str] = "stamp_train.methods.self1e.method:Self1e"
    training: ClassVar[tuple[str, ...]] = ("targets", "bce", "dice")

    attention: Literal["branch", "published", "none"] = "branch"
    targets: Literal["coverage", "resized"] = "coverage"
    bce: Amount = 2.0
    dice: Amount = 0.5

    @property
    def looks_ahead(self) -> bool:
        """As published."""
        return self.attention == "published"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Scores of true answers are of text that is told what follows."""
        if not self.looks_ahead:
            return ()
        return (
            "given the true answer, its text is predicted by a model that has seen `<|seg|>` ahead: published, and no score",
        )

    def tokens_per_mask(self, patches: int) -> int:
        """A copy of each image token, where there are copies."""
        return patches if self.attention == "branch" else 0
