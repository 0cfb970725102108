"""What a recipe and a checkpoint say of masks in codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Positive
from stamp_schemas.record import SEG
from stamp_train.methods.contract import Settings
from stamp_train.sequence.chat import NO, YES

SEG_END = "<|seg_end|>"
_PUBLISHED_SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def check_codes(scales: Sequence[int], vocabulary: int) -> None:
    """ValueError for codes that no mask has: the first one is predicted by `<|seg|>`, and they are kept as int16."""
    if len(scales) < 2 or scales[0] != 1 or list(scales) != sorted(set(scales)) or scales[-1] > 64:
        raise ValueError("scales grow from 1, there are two at least, and the last is 64 at most")
    if not 2 <= vocabulary <= 32768:
        raise ValueError("vocabulary is 2 to 32768")


class ArgensegSettings(Settings, frozen=True, tag_field="name", tag="argenseg"):
    """Settings of masks in codes.

    codec: `var`, VAR's VQ-VAE (published), whose codes lie beside the sets (`stamp-train codes`), or `residual`, codebooks
    fitted to masks: those of `file`, or of the sets that a new network is trained on. file: weights of the codec. scales,
    vocabulary: of a residual codec that is fitted: sides of its squares of codes, and vectors to a codebook. attention of
    codes: `causal` (published), or those of one scale see each other (`scales`). positions: one after another (`sequence`,
    published) or over the image's `plane`. softmax: text and codes share one (`joint`, published) or have one each. shape: of
    the codec, which a checkpoint keeps.
    """

    title: ClassVar[str] = "masks as pictures in codes, scale by scale, as in ARGenSeg"
    home: ClassVar[str] = "stamp_train.methods.argenseg.method:Argenseg"
    # Those in between are STAMP's: the rows of the embedding matrices are the same for all.
    tokens: ClassVar[tuple[str, ...]] = (SEG, "<|mask|>", YES, NO, SEG_END)
    training: ClassVar[tuple[str, ...]] = ("file",)
    remarks: ClassVar[tuple[str, ...]] = ("regions to be ignored are learned as background: codes know no third kind",)

    codec: Literal["residual", "var"] = "residual"
    file: str = ""
    scales: tuple[Positive, ...] = (1, 2, 4, 8, 16)
    vocabulary: Positive = 512
    attention: Literal["causal", "scales"] = "causal"
    positions: Literal["sequence", "plane"] = "sequence"
    softmax: Literal["separate", "joint"] = "separate"
    shape: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_codes(self.scales, self.vocabulary)
        if self.shape is not None:
            check_codes(self.shape.get("scales") or (), self.shape.get("vocabulary") or 0)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the squares of codes, as the network has them."""
        if self.shape:
            return tuple(self.shape["scales"])
        return _PUBLISHED_SCALES if self.codec == "var" else self.scales

    def tokens_per_mask(self, patches: int) -> int:  # noqa: ARG002 - the picture is a square whatever the image
        """The tokens between two texts: one for each code but the first, which `<|seg|>` predicts, and the end."""
        return sum(side * side for side in self.sides)

    def complete(self) -> Self:
        """See `sized`; UsageFault for a codec whose weights no file holds."""
        if self.codec == "var" and not self.file:
            raise UsageFault(
                "method.file: codec var needs its weights",
                "--set method.file=vae_ch160v4096z32.pth, or method.codec=residual",
            )
        return self.sized()

    def sized(self) -> Self:
        """With the shape of the codec: that of the file, if one is named, else a published or an asked one."""
        if self.shape:
            return self
        if not self.file:
            from stamp_train.methods.argenseg.var import PUBLISHED

            fitted = {"scales": self.scales, "vocabulary": self.vocabulary}
            shape = {"kind": self.codec, **(PUBLISHED if self.codec == "var" else fitted)}
        else:
            shape = self._of_file()
        return msgspec.structs.replace(self, shape=msgspec.to_builtins(shape))

    def over(self, network: Self) -> Self:
        """The settings of a network that exists; UsageFault for the file of another codec than its own."""
        shape = network.shape  # of a fitted codec without a digest: no file is that
        there = bool(self.file) and Path(self.file).expanduser().is_file()
        if there and shape and self._of_file()["digest"] != shape.get("digest"):
            raise UsageFault(f"method.file: {self.file} is not the codec of the checkpoint", "leave it out")
        return super().over(network)

    def _of_file(self) -> dict[str, Any]:
        from stamp_train.methods.argenseg.files import read_codec

        shape, _ = read_codec(Path(self.file).expanduser())
        if shape["kind"] != self.codec:
            raise UsageFault(
                f"method.file: {self.file} holds a codec of kind {shape['kind']}", f"--set method.codec={shape['kind']}"
            )
        return shape
