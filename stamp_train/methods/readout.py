"""What every readout has: the module that a method puts on a language model."""

from __future__ import annotations

from torch import Tensor, nn

from stamp_train.sequence.inputs import Reading


class Readout(nn.Module):
    """Reads states. wants_earlier: while it is trained, it is given those of a layer earlier too."""

    wants_earlier: bool = False

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """What is found, by name; without any mask too, since under sharded training every weight takes part in every pass."""
        raise NotImplementedError

    def begin(self) -> None:
        """Set what does not begin as transformers would have it, by `transformers.initialization`; the rest has begun."""

    def see(self, pixel_values: Tensor, image_grid_thw: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """For each image what the readout makes of its pixels by itself, if anything: `ImageFeatures.own`, once per image."""
        return ()
