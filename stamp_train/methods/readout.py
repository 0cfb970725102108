"""What every readout has: the module that a method puts on a language model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from stamp_train.sequence.inputs import Reading


class Readout(nn.Module):
    """Reads states. sees: asks for pictures."""

    sees: bool = False

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """What is found, by name; without any mask too, since under sharded training every weight takes part in every pass."""
        raise NotImplementedError  # every readout has its own, as of any torch module

    def embed(self, numbers: Tensor, of: Tensor) -> Tensor | None:  # noqa: ARG002 - most put no token into a dialogue
        """Embeddings [G, H] of tokens that the method has put into dialogues; None: it puts none.

        numbers: int64 [K, C], of K masks, or [0, 0]. of: int64 [G, 2], the mask of each token and its place among the mask's.
        Called in every pass while training, like `forward`.
        """
        return None

    def begin(self) -> None:
        """Set what does not begin as transformers would have it, by `transformers.initialization`; the rest has begun."""

    def see(self, pictures: Sequence[Tensor]) -> tuple[Tensor, ...]:  # noqa: ARG002 - most look at no picture
        """What a readout that `sees` makes of each picture, once for all its masks: `ImageFeatures.own`.

        pictures: float [3, height, width], 0 to 1, as the image processor has resized them.
        """
        return ()
