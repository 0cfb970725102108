"""What a recipe and a checkpoint say of masks from one embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Amount, Positive
from stamp_train.methods.contract import Settings

_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
_REMEDY = "give the folder of a SAM in transformers' layout, such as a download of facebook/sam-vit-base"


class EmbeddingSettings(Settings, frozen=True, tag_field="name", tag="embedding"):
    """Settings of masks from one embedding; the defaults of the losses are the published ones.

    read: the state that predicts `<|seg|>` (`published`) or the one `at` it. head: `dot`, a product with the vision tower's
    features, or `sam`, SAM's mask decoder. width: of the product. sam: folder of a SAM in transformers' layout, with whose
    weights a new network begins; shape: its configuration, which a checkpoint keeps. bce, dice: weights of the losses.
    """

    title: ClassVar[str] = "one embedding for each mask, as in LISA"
    home: ClassVar[str] = "stamp_train.methods.embedding.method:Embedding"
    training: ClassVar[tuple[str, ...]] = ("sam", "bce", "dice")

    read: Literal["published", "at"] = "published"
    head: Literal["dot", "sam"] = "dot"
    width: Positive = 256
    sam: str = ""
    shape: dict[str, Any] | None = None
    bce: Amount = 2.0
    dice: Amount = 0.5

    def __post_init__(self) -> None:
        if self.head == "sam" and not self.sam and self.shape is None:
            raise ValueError("head sam needs a SAM: set `sam` to the folder of one")
        if self.head == "dot" and (self.sam or self.shape is not None):
            raise ValueError("head dot has no SAM: leave out `sam`, or set `head` to sam")

    def tokens_per_mask(self, patches: int) -> int:  # noqa: ARG002 - needs none
        """None: all of a mask is in the state around its `<|seg|>`."""
        return 0

    def sized(self) -> Self:
        """With the shape of the SAM that is named; UsageFault if there is none."""
        return msgspec.structs.replace(self, shape=_shape(Path(self.sam).expanduser())) if self.sam else self

    def over(self, network: Self) -> Self:
        """The settings of a network that exists, trained as these say; SAM's weights are its own."""
        return msgspec.structs.replace(network, bce=self.bce, dice=self.dice)


def _shape(folder: Path) -> dict[str, Any]:
    try:
        told = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as fault:
        raise UsageFault(f"method.sam: {folder}: no configuration that can be read: {fault}", _REMEDY) from None
    if told.get("model_type") != "sam":
        raise UsageFault(f"method.sam: {folder}: holds a model of type {told.get('model_type')!r}, not 'sam'", _REMEDY)
    return {part: told[part] for part in _PARTS if part in told}
