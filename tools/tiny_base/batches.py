"""What a step learns from: pictures drawn from the pool, and questions by how hard each form still is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.sequence.chat import ChatEncoder, Message
from stamp_train.sequence.document import Grid
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.inputs import StampInputs
from stamp_train.sequence.layout import Layout
from tools.tiny_base.naming import Labels
from tools.tiny_base.questions import FORMS
from tools.tiny_base.scenes import Pool
from tools.tiny_base.words import PLAIN


class CachedChat(ChatEncoder):
    """Tokenises each text once: scenes are spoken of in a few thousand sentences."""

    def __init__(self, tokenizer: Any) -> None:
        self._known: dict[str, list[int]] = {}
        super().__init__(tokenizer)

    def text_ids(self, text: str) -> list[int]:
        """See `ChatEncoder`."""
        if text not in self._known:
            self._known[text] = super().text_ids(text)
        return list(self._known[text])


@dataclass
class Asked:
    """A batch. wanted: int64 [T], tokens that are to be predicted. form, question: int64 [T], of which form of question each is
    part, and of which question of the batch. boxes: float32 [questions, 4], see `scenes.Pool`. ahead: the questions stand
    before their pictures."""

    inputs: StampInputs
    wanted: Tensor
    form: Tensor
    question: Tensor
    boxes: Tensor
    ahead: bool
    labels: Labels


class Batches:
    """Lays out scenes with their questions. grid: merged patches of every picture."""

    def __init__(self, pool: Pool, chat: ChatEncoder, grid: Grid) -> None:
        self.pool, self.grid = pool, grid
        self.layout = Layout(chat, PLAIN.method())
        self.grid_thw = (1, 2 * grid[0], 2 * grid[1])

    def pictures(self, rng: np.random.Generator, images: int) -> tuple[Tensor, Tensor, Labels]:
        """So many pictures without a question: features of patches, grids int64 [images, 3], labels."""
        scenes = rng.choice(len(self.pool), images, replace=False)
        features = torch.from_numpy(self.pool.features[scenes]).float().flatten(0, 1)
        return features, torch.tensor([self.grid_thw] * images), self.labels(scenes)

    def draw(
        self,
        rng: np.random.Generator,
        images: int,
        questions: int,
        weights: NDArray[np.float64],
        *,
        ahead: bool = False,
    ) -> Asked:
        """So many pictures, and of each so many questions, by the weights of their forms, [forms]; fewer where there are not as
        many of those with a weight. ahead: see `lay_out`."""
        scenes = rng.choice(len(self.pool), images, replace=False)
        chosen = []
        for scene in scenes.tolist():
            asked = self.pool.asked(scene)
            # A form is as likely where it has one question as where it has ten.
            share = weights[asked[:, 0]] / np.bincount(asked[:, 0], minlength=len(FORMS))[asked[:, 0]]
            keys = rng.exponential(size=len(asked)) / np.maximum(share, 1e-9)
            order = np.argsort(keys)[:questions]
            chosen.append(asked[order[share[order] > 0]])
        kept = [number for number, asked in enumerate(chosen) if len(asked)]
        return self.lay_out(scenes[kept], [chosen[number] for number in kept], ahead=ahead)

    def lay_out(
        self, scenes: Sequence[int] | NDArray[np.int64], chosen: list[NDArray[np.int32]], *, ahead: bool = False
    ) -> Asked:
        """A batch of these scenes, each with rows of its questions, at least one. ahead: the question stands before the
        picture, whose tokens then see it; they are repeated for every question."""
        pool = self.pool
        features = torch.from_numpy(pool.features[scenes]).float()
        examples = [
            ImageExample([self.dialogue(row, ahead) for row in rows], pixels, self.grid_thw)
            for rows, pixels in zip(chosen, features, strict=True)
        ]
        packed = self.layout(examples)
        rows = np.concatenate(chosen)
        answers = [self.answer(row, ahead) for row in rows]
        lengths = torch.tensor([len(self.layout.chat.text_ids(answer)) + 1 for answer in answers])  # and its end
        number = torch.arange(len(rows)).repeat_interleave(lengths)
        return Asked(
            packed.inputs,
            packed.targets.text_ids,
            torch.from_numpy(rows[:, 0]).long()[number],
            number,
            torch.from_numpy(pool.boxes[rows[:, 3]]),
            ahead,
            self.labels(scenes),
        )

    def dialogue(self, row: NDArray[np.int32], ahead: bool) -> DialogueExample:
        """A question with its answer."""
        asked = [{"type": "image"}, {"type": "text", "text": self.pool.texts[row[1]]}]
        asked = asked[::-1] if ahead else asked
        messages: list[Message] = [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": self.answer(row, ahead)},
        ]
        return DialogueExample("question", messages)

    def answer(self, row: NDArray[np.int32], ahead: bool) -> str:
        """What is said; nothing that was asked is said again where the answer does not see it."""
        said: str = self.pool.texts[row[2]]
        return said.rpartition(": ")[2] if ahead else said

    def labels(self, scenes: Sequence[int] | NDArray[np.int64]) -> Labels:
        """What is seen at the patches of these scenes."""
        names = ("shapes", "colours", "merged_shapes", "merged_colours")
        named = {name: torch.from_numpy(getattr(self.pool, name)[scenes]).long().flatten() for name in names}
        return Labels(
            **named,
            rest=torch.from_numpy(self.pool.rest[scenes]).float().flatten(0, 1),
            quarters=torch.from_numpy(self.pool.quarters[scenes]).long().flatten(0, 1),
            covered=torch.from_numpy(self.pool.covered[scenes]).float().flatten(0, 1),
        )


def right(logits: Tensor, asked: Asked) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Of every question its form, and whether each token of the answer is the likeliest after those before it: then the
    answer is what the network would say."""
    missed = (logits.argmax(-1) != asked.wanted).long()
    count = int(asked.question[-1]) + 1
    wrong = torch.zeros(count, dtype=torch.long).index_add(0, asked.question, missed)
    forms = torch.zeros(count, dtype=torch.long).index_put((asked.question,), asked.form)
    return forms.numpy(), (wrong == 0).numpy()
