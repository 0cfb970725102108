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
from stamp_train.sequence.document import Document, Grid, TokenSpan, grid_axes
from stamp_train.sequence.inputs import StampInputs
from stamp_train.sequence.token_sequence import TokenSequence
from tools.tiny_base.naming import Labels
from tools.tiny_base.questions import FORMS
from tools.tiny_base.scenes import Pool


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
    part, and of which question of the batch. boxes, told: [questions, K, 4] and [questions], see `scenes.Pool`. ahead: the
    questions stand before their pictures."""

    inputs: StampInputs
    wanted: Tensor
    form: Tensor
    question: Tensor
    boxes: Tensor
    told: Tensor
    ahead: bool
    labels: Labels


class Batches:
    """Lays out scenes with their questions. grid: merged patches of every picture."""

    def __init__(self, pool: Pool, chat: ChatEncoder, grid: Grid) -> None:
        self.pool, self.chat, self.grid = pool, chat, grid
        (self.colon,) = chat.text_ids(":")
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
        return self.lay_out(scenes[kept], [chosen[number] for number in kept], ahead=ahead, again=not ahead)

    def lay_out(
        self,
        scenes: Sequence[int] | NDArray[np.int64],
        chosen: list[NDArray[np.int32]],
        *,
        ahead: bool = False,
        again: bool = False,
    ) -> Asked:
        """A batch of these scenes, each with rows of its questions, at least one.

        ahead: the question stands before the picture, whose tokens then see it; they are repeated for every question. Else
        dialogues of a picture share its tokens. again: where things are spoken of, these come once more behind what names
        them, see all that stands before them and each other, and nobody sees them.
        """
        pool = self.pool
        sequence, text_rows, text_ids, number = TokenSequence(self.chat), list[int](), list[int](), list[int]()
        rows = np.concatenate(chosen)
        told = pool.told[rows[:, 3]]
        image_of = np.arange(len(scenes)).repeat([len(asked) for asked in chosen])
        document, before = Document(0), -1
        for question, (row, image) in enumerate(zip(rows, image_of.tolist(), strict=True)):
            encoded = self.chat.encode(self.dialogue(row, ahead))
            assert encoded.image_at is not None
            start = encoded.image_at + 2
            if ahead or document.image != image or not document.number:
                patches = image * self.grid[0] * self.grid[1]
                document = Document(document.number + 1, tuple(encoded.ids[:start]), self.grid, image, patches)
                before = int(sequence.put(document.prefix())[-1])
            ids, answers = np.array(encoded.ids[start:]), np.array(encoded.answer[start:])
            put = sequence.put(document.text(ids.tolist(), question + 1))
            text_rows += np.concatenate([[before], put[:-1]])[answers].tolist()
            text_ids += ids[answers].tolist()
            number += [question] * int(answers.sum())
            if again and told[question]:
                sequence.put(self.copies(document, question + 1, self.named(ids, answers), sequence.new_block()))
        features = torch.from_numpy(pool.features[scenes]).float().flatten(0, 1)
        grids = torch.tensor([self.grid_thw] * len(scenes))
        asked_of = torch.tensor(number)
        return Asked(
            sequence.inputs(text_rows, pixel_values=features, image_grid_thw=grids),
            torch.tensor(text_ids),
            torch.from_numpy(rows[:, 0]).long()[asked_of],
            asked_of,
            torch.from_numpy(pool.boxes[rows[:, 3]]),
            torch.from_numpy(told),
            ahead,
            self.labels(scenes),
        )

    def named(self, ids: NDArray[np.int64], answers: NDArray[np.bool_]) -> int:
        """Index of the token behind which all that names the things has been said: where an answer says it again, of the colon
        there, else of the question's end."""
        colons = np.flatnonzero(answers & (ids == self.colon))
        return int(colons[0]) if len(colons) else int(np.flatnonzero(ids == self.chat.control["<|im_end|>"])[0])

    def copies(self, document: Document, branch: int, at: int, block: int) -> TokenSpan:
        """The tokens of the picture once more, behind index `at` of a dialogue as mask tokens behind a `<|seg|>`."""
        count = document.patches
        return TokenSpan(
            ids=np.full(count, self.chat.image_id, np.int64),
            positions=document.text_starts + at + 1 + grid_axes(document.grid),
            features=document.rows(),
            order=np.full(count, document.length + at, np.int64),
            document=document.number,
            branch=branch,
            block=block,
        )

    def dialogue(self, row: NDArray[np.int32], ahead: bool) -> list[Message]:
        """A question with its answer."""
        asked = [{"type": "image"}, {"type": "text", "text": self.pool.texts[row[1]]}]
        return [
            {"role": "user", "content": asked[::-1] if ahead else asked},
            {"role": "assistant", "content": self.answer(row, ahead)},
        ]

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
