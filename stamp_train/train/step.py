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
from stamp_train.methods.contract import Method
from stamp_train.methods.losses import Counts, added, means
from stamp_train.sequence.document import MERGE
from stamp_train.sequence.examples import ImageExample, PackedBatch
from stamp_train.sequence.layout import NOTHING, Layout
from stamp_train.train.engine import in_shards

_SAID = 3  # dialogues named in a message


@dataclass(frozen=True)
class StepResult:
    """A step's losses by name, means over the global batch; its gradient's norm before clipping; what all ranks computed.

    padding: fraction of the time in which ranks wait for the longest pack of a micro-step.
    """

    losses: dict[str, float]
    grad_norm: float
    work: Work
    padding: float

    @property
    def loss(self) -> float:
        return sum(self.losses.values())


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make all random numbers of a step (dropout) a function of (seed, step, rank), so that none need be saved."""
    number = int.from_bytes(blake3(f"{seed}/{step}/{rank}".encode()).digest(8), "little")
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - libraries below us draw from the global generator


def _work(pack: PackedBatch) -> Work:
    """What is in a pack."""
    inputs, grids = pack.inputs, pack.inputs.image_grid_thw
    image = 0 if grids is None else int(grids.prod(1).sum()) // MERGE**2
    mask = int(((inputs.structure.block > 0) | (inputs.feature_rows >= 0)).sum()) - image + len(inputs.given_rows)
    text = len(inputs.structure) - image - mask
    return Work(len(pack.dialogues), 0 if grids is None else len(grids), text, image, mask)


class StepRunner:
    """Turns the packs of a step into gradients on the parameters. network: prepared by the accelerator. attention: backend."""

    def __init__(self, accelerator: Accelerator, network: Any, layout: Layout, method: Method, attention: str) -> None:
        self.accelerator = accelerator
        self.network = network
        self.layout = layout
        self.method = method
        self.attention = attention

    def gradients(self, packs: Sequence[Sequence[ImageExample]], clip: float, name: str) -> StepResult:
        """Forward and backward over this rank's packs; gradients are summed over ranks, and clipped to norm `clip`.

        packs: as many on every rank; an empty one takes part without a say. name: of the step, for messages. StampError: a
        loss or a gradient is not finite; names the dialogues of the packs at fault.
        """
        laid = [self.layout(pack or [NOTHING]) for pack in packs]
        real = [float(bool(pack)) for pack in packs]
        ranks, padding, counts, work = self._shared(laid, real)
        losses = torch.zeros(len(laid), len(counts), dtype=torch.float64)
        for number, (pack, present) in enumerate(zip(laid, real, strict=True)):
            last = number == len(laid) - 1
            # In shards, gradients are summed at once: keeping them whole until the last pack would take the memory saved.
            at_once = last or in_shards(self.network)
            with contextlib.nullcontext() if at_once else self.accelerator.no_sync(self.network):
                losses[number] = self._backward(pack, counts, present, ranks)
        sums = self.accelerator.reduce(losses.sum(0).to(self._device), "sum").tolist()
        self._check(sum(sums), losses, laid, name, "loss")
        found = self.accelerator.clip_grad_norm_(self.network.parameters(), clip)
        norm = float(found.full_tensor() if isinstance(found, DTensor) else found)
        self._check(norm, losses, laid, name, "gradient")
        return StepResult(dict(zip(counts, sums, strict=True)), norm, work, padding)

    def _backward(self, pack: PackedBatch, counts: Counts, present: float, ranks: int) -> torch.Tensor:
        """Gradients of one pack; returns its part of the mean losses, float64 [names] on the CPU, in the counts' order."""
        pack = pack.to(self._device)
        with self.accelerator.autocast():  # in shards, nobody else sees to the precision of what is between layers
            output = self.network(inputs=pack.inputs, attention=self.attention)
        everywhere = self.method.divide_by == "global"
        losses = means(self.method.losses(output, pack.targets), counts if everywhere else None)
        parts = torch.stack([losses[name] for name in counts])
        # Data parallelism averages gradients over ranks, while those by global counts are parts of a sum.
        self.accelerator.backward(parts.sum() * (present * (ranks if everywhere else 1)))
        return parts.detach().double().cpu() * present

    def _shared(self, laid: list[PackedBatch], real: list[float]) -> tuple[int, float, Counts, Work]:
        """(ranks, padding, counts, work) of the whole step, from this rank's packs and which of them are real (1.0)."""
        sizes = [len(pack.inputs.structure) * present for pack, present in zip(laid, real, strict=True)]
        # Packs that are not real are counted as nothing, but give the names, which all ranks must share.
        counted = [(self.method.counts(pack.targets), present) for pack, present in zip(laid, real, strict=True)]
        own = added({name: value * present for name, value in counts.items()} for counts, present in counted)
        work = sum((_work(pack) for pack, present in zip(laid, real, strict=True) if present), Work())
        sums = [work.dialogues, work.visits, work.text, work.image, work.mask, *own.values()]
        mine = torch.tensor([[*sizes, *sums]], dtype=torch.float64, device=self._device)
        everyone = self.accelerator.gather(mine).cpu()
        lengths, totals = everyone[:, : len(sizes)], everyone[:, len(sizes) :].sum(0).tolist()
        tokens, waited = float(lengths.sum()), float(lengths.max(0).values.sum()) * len(everyone)
        padding = 1 - tokens / waited if waited else 0.0
        return len(everyone), padding, dict(zip(own, totals[5:], strict=True)), Work(*totals[:5])

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
