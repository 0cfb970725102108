"""One optimizer step: the gradient of the global batch's mean loss, however the batch is split over packs and ranks."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from blake3 import blake3
from torch.distributed.tensor import DTensor

from stamp_schemas import StampError
from stamp_train.estimate.workload import Work
from stamp_train.methods.stamp.losses import LossCounts, LossSettings, count, loss_sums
from stamp_train.sequence.layout import DialogueExample, ImageExample, Layout, PackedBatch
from stamp_train.train.engine import in_shards

_SAID = 3  # dialogues named in a message
_NOTHING = ImageExample([DialogueExample("nothing", [{"role": "user", "content": ""}])])


@dataclass(frozen=True)
class StepResult:
    """Losses of a step over the global batch, the norm of its gradient before clipping, and what all ranks computed.

    loss_names, loss_early: by their weights. padding: share of the time in which ranks wait for the longest pack of a
    micro-step.
    """

    loss_text: float
    loss_mask: float
    loss_names: float
    loss_early: float
    grad_norm: float
    work: Work
    padding: float

    @property
    def loss(self) -> float:
        return self.loss_text + self.loss_mask + self.loss_names + self.loss_early


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make all random numbers of a step (dropout) a function of (seed, step, rank), so that none need be saved."""
    number = int.from_bytes(blake3(f"{seed}/{step}/{rank}".encode()).digest(8), "little")
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - libraries below us draw from the global generator


def _work(pack: PackedBatch) -> Work:
    """What is in a pack."""
    inputs, grids = pack.inputs, pack.inputs.image_grid_thw
    mask = len(inputs.mask_rows)
    image = int((inputs.feature_rows >= 0).sum()) - mask
    text = len(inputs.structure) - image - mask
    return Work(len(pack.dialogues), 0 if grids is None else len(grids), text, image, mask)


class StepRunner:
    """Turns the packs of a step into gradients on the parameters.

    Args:
        accelerator: the engine.
        network: prepared by it.
        layout: of the model's tokenizer.
        settings: of the losses.
        attention: backend.
    """

    def __init__(
        self, accelerator: Accelerator, network: Any, layout: Layout, settings: LossSettings, attention: str
    ) -> None:
        self.accelerator = accelerator
        self.network = network
        self.layout = layout
        self.settings = settings
        self.attention = attention

    def gradients(self, packs: Sequence[Sequence[ImageExample]], clip: float, name: str) -> StepResult:
        """Forward and backward over this rank's packs; gradients are summed over ranks, and clipped.

        Args:
            packs: as many on every rank; an empty one takes part without a say.
            clip: largest norm.
            name: of the step, for messages.

        Raises:
            StampError: a loss or a gradient is not finite; names the dialogues of the packs at fault.
        """
        laid = [self.layout(pack or [_NOTHING]) for pack in packs]
        real = [float(bool(pack)) for pack in packs]
        sizes = [len(pack.inputs.structure) * present for pack, present in zip(laid, real, strict=True)]
        given = [pack for pack, present in zip(laid, real, strict=True) if present]
        ranks, padding, counts, work = self._shared(sizes, given)
        losses = torch.zeros(len(laid), 4, dtype=torch.float64)
        for number, (pack, present) in enumerate(zip(laid, real, strict=True)):
            last = number == len(laid) - 1
            # In shards, gradients are summed at once: keeping them whole until the last pack would take the memory saved.
            at_once = last or in_shards(self.network)
            with contextlib.nullcontext() if at_once else self.accelerator.no_sync(self.network):
                losses[number] = self._backward(pack, counts, present, ranks)
        text, mask, names, early = self.accelerator.reduce(losses.sum(0).to(self._device), "sum").tolist()
        self._check(text + mask + names + early, losses, laid, name, "loss")
        found = self.accelerator.clip_grad_norm_(self.network.parameters(), clip)
        norm = float(found.full_tensor() if isinstance(found, DTensor) else found)
        self._check(norm, losses, laid, name, "gradient")
        return StepResult(text, mask, names, early, norm, work, padding)

    def _backward(self, pack: PackedBatch, counts: LossCounts, present: float, ranks: int) -> torch.Tensor:
        """Gradients of one pack; returns its share of the mean losses, float64 [4] on the CPU."""
        pack = pack.to(self._device)
        with self.accelerator.autocast():  # in shards, nobody else sees to the precision of what is between layers
            output = self.network(inputs=pack.inputs, attention=self.attention, early=self.settings.early > 0)
        sums = loss_sums(output, pack.targets, self.settings)
        if self.settings.divide_by == "global":
            # Data parallelism averages gradients over ranks, while ours are parts of a sum.
            over, weight = counts, float(ranks)
        else:
            over, weight = sums.counts, 1.0
        self.accelerator.backward(sums.total(over) * (present * weight))
        shares = [part.detach() / max(count, 1.0) for part, count in sums.parts(over)]
        return torch.stack(shares).double().cpu() * present

    def _shared(self, sizes: list[float], packs: list[PackedBatch]) -> tuple[int, float, LossCounts, Work]:
        """(ranks, padding, counts, work) of the whole step, from the packs of this rank."""
        own = sum((count(pack.targets) for pack in packs), LossCounts(0.0, 0.0))
        work = sum(map(_work, packs), Work())
        sums = [own.text, own.masks, own.names, work.dialogues, work.visits, work.text, work.image, work.mask]
        mine = torch.tensor([[*sizes, *sums]], dtype=torch.float64, device=self._device)
        everyone = self.accelerator.gather(mine).cpu()
        lengths, totals = everyone[:, : len(sizes)], everyone[:, len(sizes) :].sum(0).tolist()
        tokens, waited = float(lengths.sum()), float(lengths.max(0).values.sum()) * len(everyone)
        return len(everyone), 1 - tokens / waited if waited else 0.0, LossCounts(*totals[:3]), Work(*totals[3:])

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    def _check(self, value: float, losses: torch.Tensor, laid: list[PackedBatch], name: str, what: str) -> None:
        """Stop on every rank if a number that all ranks share is not finite."""
        if np.isfinite(value):
            return
        bad = [pack for pack, pair in zip(laid, losses, strict=True) if not bool(torch.isfinite(pair).all())]
        named = gather_object([dialogue for pack in bad or laid for dialogue in pack.dialogues])
        more = f" and {len(named) - _SAID} more" if len(named) > _SAID else ""
        raise StampError(
            f"{name}: the {what} is {value}, in a pack with {', '.join(named[:_SAID])}{more}",
            "lower optimizer.learning_rate, or look at these records",
        )
