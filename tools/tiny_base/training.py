"""The training of tiny-base: steps, what they depend on, and a checkpoint from which they go on bit by bit.

What a step sees is a pure function of (seed, step, how well each form is answered, whether all are asked), and the last two are
in the checkpoint. There is no schedule with an end: rates fall slowly, and what is scored and published is an average of
the last weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import AdamW

from stamp_data.writing import part_of
from stamp_schemas import StampError
from tools.tiny_base.batches import Asked, Batches, CachedChat, right
from tools.tiny_base.muon import Muon
from tools.tiny_base.naming import Naming, spoken_words
from tools.tiny_base.network import Projected, Seen, build_network, look
from tools.tiny_base.questions import FORMS
from tools.tiny_base.recipe import Rates, Recipe
from tools.tiny_base.scenes import Pool, grid_of
from tools.tiny_base.words import make_tokenizer, read, written

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
_MOST = 256  # rows and columns of a matrix that Muon moves
_LEAST = 0.1  # weight of a form that is always answered right; one that never is has 1 more
_MEMORY = 200  # questions that the share of right answers is taken over


class Learner:
    """Everything that a step changes."""

    def __init__(self, recipe: Recipe, stored: dict[str, Any] | None = None) -> None:
        self.recipe = recipe
        self.tokenizer = read(stored["tokenizer"]) if stored else make_tokenizer(recipe)
        self.network = build_network(recipe, self.tokenizer, stored["projection"] if stored else None)
        self.network.train()
        self.projection = self.network.model.visual.patch_embed
        self.network.model.visual.patch_embed = Projected()
        self.grid = grid_of(recipe.scenes)
        config = self.network.config
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.naming = Naming(
                config.vision_config.embed_dim, config.text_config.hidden_size, spoken_words(self.tokenizer), self.grid
            )
        self.average = {name: weight.detach().clone() for name, weight in self.network.named_parameters()}
        self.optimizers = _optimizers(recipe.rates, self.network, self.naming)
        self.step, self.seconds, self.all_asked = 0, 0.0, False
        self.share = np.zeros((2, len(FORMS)))  # of right answers, lately: to questions of a picture, and ahead of one
        if stored:
            self._restore(stored)

    def learn(self, batches: Batches) -> dict[str, float]:
        """One step; its losses by name."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self.recipe.seed, self.step], np.uint64)))
        looking = self.step < self.recipe.looking
        losses = self._look(batches, rng) if looking else self._answer(batches, rng)
        torch.autograd.backward(list(losses.values()))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(self.recipe.rates, self.step, matrices=isinstance(optimizer, Muon))
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self._average()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _look(self, batches: Batches, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        pixels, grids, labels = batches.pictures(rng, 2 * self.recipe.images)
        features = self.network.encode_images(pixels, grids)
        losses: dict[str, torch.Tensor] = self.naming(self.network, features, None, labels, self.recipe.losses)
        return losses

    def _answer(self, batches: Batches, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        ahead = self.step % 3 == 0
        questions = self.recipe.ahead if ahead else self.recipe.questions
        asked = batches.draw(rng, self.recipe.images, questions, self.weights(ahead=ahead), ahead=ahead)
        seen = look(self.network, asked.inputs, hidden=ahead)
        losses = self.naming(self.network, seen.features, seen.early, asked.labels, self.recipe.losses)
        losses["boxes"] = self.recipe.losses.boxes * self.boxes(seen, asked)
        self._note(ahead, *right(seen.logits, asked))
        return {**losses, "answers": F.cross_entropy(seen.logits, asked.wanted)}

    def boxes(self, seen: Seen, asked: Asked) -> torch.Tensor:
        """The loss of the boxes of what is spoken of, see `naming`."""
        rows = asked.told.nonzero()[:, 0]
        boxes = asked.boxes[rows]
        pictures = seen.late.reshape(-1, prod(self.grid), seen.late.shape[-1])
        distances = self.naming.distances(pictures[rows] if asked.ahead else pictures, boxes)
        if asked.ahead:
            return distances
        one = (~boxes[:, :, 0].isnan()).sum(1) == 1
        begun = torch.searchsorted(asked.question, rows[one])
        return distances + self.naming.boxes(seen.said[begun], boxes[one, 0])

    def weights(self, *, ahead: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
        """How often each form is asked, of a picture or ahead of it: [forms]."""
        found = _LEAST + 1 - self.share[int(ahead)]
        return found if self.all_asked else np.where([form in self.recipe.begin for form in FORMS], found, 0)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "tokenizer": written(self.tokenizer),
            "projection": self.projection.proj.weight.detach(),
            "network": self.network.state_dict(),
            "naming": self.naming.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "all_asked": self.all_asked,
            "share": self.share.tolist(),
        }

    def averaged(self) -> Any:
        """The network that takes pixels, in evaluation mode, with the average of the weights; it learns no more."""
        self.network.load_state_dict(self.average, strict=False)
        self.network.model.visual.patch_embed = self.projection
        return self.network.eval()

    def _restore(self, stored: dict[str, Any]) -> None:
        try:
            for part in ("network", "naming"):
                getattr(self, part).load_state_dict(stored[part])
        except RuntimeError as fault:
            raise StampError(f"the checkpoint is of another recipe: {fault}", "give another --out") from None
        self.average = stored["average"]
        for optimizer, state in zip(self.optimizers, stored["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.seconds, self.all_asked = stored["step"], stored["seconds"], stored["all_asked"]
        known = np.atleast_2d(stored["share"])
        self.share[: len(known), : known.shape[1]] = known  # forms that are new since then come last

    def _note(self, ahead: bool, forms: np.ndarray[Any, Any], correct: np.ndarray[Any, Any]) -> None:
        share = self.share[int(ahead)]
        for form in np.unique(forms).tolist():
            these = correct[forms == form]
            share[form] += (these.mean() - share[form]) * min(1.0, len(these) / _MEMORY)
        begun = [self.share[0, FORMS.index(form)] for form in self.recipe.begin]
        self.all_asked = self.all_asked or bool(np.mean(begun) >= self.recipe.ready)

    @torch.no_grad()
    def _average(self) -> None:
        kept = min(self.recipe.average, self.step / (self.step + 10))
        for name, weight in self.network.named_parameters():
            self.average[name].lerp_(weight, 1 - kept)


def rate(rates: Rates, step: int, *, matrices: bool) -> float:
    """The learning rate of a step, from 0: see `Rates`."""
    top = rates.matrices if matrices else rates.others
    return top * float(min((step + 1) / rates.warmup, 1, (rates.steady / max(step, 1)) ** 0.5))


def _optimizers(rates: Rates, network: Any, naming: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for maps between hidden states; rows of an embedding are no such map, nor are the namings' short ones. The one large
    matrix, of the merger, would take longer than all others together."""
    table = network.get_input_embeddings().weight
    matrices = [w for w in network.parameters() if w.ndim == 2 and w is not table and min(w.shape) <= _MOST]
    chosen: set[int] = set(map(id, matrices))
    others = [weight for weight in [*network.parameters(), *naming.parameters()] if id(weight) not in chosen]
    return [
        Muon(matrices, rates.matrices, rates.decay, torch.float32),
        AdamW(others, lr=rates.others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a folder, None if there is none yet. StampError: it is damaged."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # a damaged file makes its unpickler raise nearly anything
        raise StampError(f"{path}: damaged: {fault}", "remove it to begin anew") from None
    return found


def write_checkpoint(learner: Learner, folder: Path) -> None:
    """Write what the training has to go on from; the file is whole or the one before."""
    part = part_of(folder / CHECKPOINT)
    torch.save(learner.state(), part)
    part.rename(folder / CHECKPOINT)


def train(
    learner: Learner, pool: Pool, folder: Path, minutes: float, say: Callable[[str], None], *, every: int = 20
) -> None:
    """Learn for some minutes; the log gets a line every so many steps, and a checkpoint is written every five minutes."""
    batches = Batches(pool, CachedChat(learner.tokenizer), learner.grid)
    _forget(folder / LOG, learner.step)
    begun = saved = before = time.monotonic()
    while time.monotonic() - begun < 60 * minutes:
        losses = learner.learn(batches)
        now = time.monotonic()
        learner.seconds += now - before
        before = now
        if learner.step % every == 0:
            say(_log(learner, losses, folder / LOG))
        if now - saved > 300:
            write_checkpoint(learner, folder)
            saved = now
    write_checkpoint(learner, folder)


def _forget(path: Path, step: int) -> None:
    """Take out of the log what comes after a step: it was lost with a process, and is done again."""
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))


def _log(learner: Learner, losses: dict[str, float], path: Path) -> str:
    of, ahead = learner.share.tolist()
    share = dict(
        zip((*FORMS, *(f"ahead/{form}" for form in FORMS)), (round(value, 3) for value in of + ahead), strict=True)
    )
    row = {
        "step": learner.step,
        "seconds": round(learner.seconds),
        **{k: round(v, 4) for k, v in losses.items()},
        **share,
    }
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    told = " ".join(f"{form} {value:.2f}" for form, value in share.items() if value)
    lost = " ".join(f"{name} {loss:.2f}" for name, loss in losses.items())
    return f"{learner.step} ({learner.seconds:.0f} s) {lost} | {told}"
