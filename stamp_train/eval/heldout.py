"""A look at held-out records while training: masks by the evaluation's scorer, in its forced mode, and accuracy of the text.

One packed forward pass per record gives both: the model is shown the true answer up to each `<|seg|>`, as in training. A
full evaluation lets it answer for itself.

Which of its wordings an answer has is drawn at random, so no model can know it: a likeliest token that goes on with another
wording that the same build could have drawn is as right as the token that stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from stamp_data.instructions import alternatives
from stamp_data.shards.members import Parsed
from stamp_data.shards.stores import Location
from stamp_schemas import Dialogue, StampError
from stamp_schemas.recipe import Recipe
from stamp_schemas.record import SEG
from stamp_train.eval.cases import CaseSet, ImageCases
from stamp_train.eval.metrics import CONVENTIONS
from stamp_train.eval.sample_images import Sample, draw
from stamp_train.eval.scoring import FORCED, Line, Scorer, true_answers
from stamp_train.methods.contract import Method
from stamp_train.methods.upsample import BILINEAR
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.examples import ImageExample
from stamp_train.sequence.layout import Layout, in_words
from stamp_train.stream.examples import ExampleMaker, prepare_with
from stamp_train.stream.stages import open_set

LABELS = "labels"


@dataclass(frozen=True)
class HeldOutRecord:
    """A record of a set, its cases laid out. right: for each token that the assistant says, all that would be right there."""

    set: str
    asked: ImageCases
    example: ImageExample
    right: list[frozenset[int]]


@dataclass
class Sums:
    """What metrics are made of; they add up over records and ranks. Pixels are those of the evaluation's own convention."""

    intersection: float = 0.0
    union: float = 0.0
    label_intersection: float = 0.0
    label_union: float = 0.0
    tokens_right: float = 0.0
    tokens: float = 0.0

    def metrics(self) -> dict[str, float]:
        """`ciou`, over all masks; `label_ciou`, what the labels themselves reach when they are decoded like a prediction;
        `text_accuracy`: ratio of the answers' places where the likeliest token is right, in the answer's wording or in another
        that the build could have drawn."""
        return {
            "ciou": self.intersection / self.union if self.union else 1.0,
            "label_ciou": self.label_intersection / self.label_union if self.label_union else 1.0,
            "text_accuracy": self.tokens_right / max(self.tokens, 1.0),
        }


class HeldOut:
    """Held-out records, at most so many of each set, decoded once for the layout, method and processor of a model.

    upsampling: of masks and of labels to the image's size, one of `stamp_train.methods.upsample.METHODS`. StampError for sets
    at fault.
    """

    def __init__(
        self,
        sets: Sequence[Location],
        records: int,
        layout: Layout,
        method: Method,
        processor: Any,
        upsampling: str = BILINEAR,
    ) -> None:
        self.layout, self.method, self.scorer = layout, method, Scorer(upsampling)
        make = ExampleMaker(prepare_with(processor), method)
        self.records = [record for place in sets for record in self._read(CaseSet(place), records, make)]

    def _read(self, source: CaseSet, most: int, make: ExampleMaker) -> Iterator[HeldOutRecord]:
        wording = source.manifest.settings.wording
        self.method.open_sets([source.shards])
        for row in source.shards.rows[:most]:
            asking = source.asking(row)
            if not asking:
                continue
            found, loaded = source.load(row), source.shards.load(row)
            if found.damaged:
                raise StampError(": ".join(found.damaged[0]))
            example = make(Parsed(loaded.record, memoryview(loaded.image or b""), loaded.labels), asking)
            pack = self.layout([example])
            if pack.dropped:
                continue  # the layout has told which of its dialogues is too long
            dialogues = [loaded.record.dialogues[number] for number in asking]
            said = [
                token
                for one, laid in zip(dialogues, example.dialogues, strict=True)
                for token in right_tokens(one, wording, self.layout.chat, self.layout.masks_in_words(laid))
            ]
            # The layout supervises just what assistants say, dialogue after dialogue.
            assert [token for token, _ in said] == pack.targets.text_ids.tolist()
            yield HeldOutRecord(source.name, found, example, [right for _, right in said])
        source.close()

    @torch.no_grad()
    def evaluate(
        self, network: Any, accelerator: Accelerator, attention: str = "auto", samples: int = 0
    ) -> tuple[dict[str, float], list[Sample]]:
        """Metrics over all records, every rank doing its share, and the first `samples` masks of this rank.

        The network comes back in the mode that it was in.
        """
        sums, shown = Sums(), list[Sample]()
        was_training = network.training
        network.eval()
        mine = self.records[accelerator.process_index :: accelerator.num_processes]
        passes = -(-len(self.records) // accelerator.num_processes)
        for number, record in enumerate([*mine, *self.records[: passes - len(mine)]]):
            pack = self.layout([record.example]).to(accelerator.device)
            with accelerator.autocast():  # `network` is the bare one, which knows nothing of the run's precision
                output = network(inputs=pack.inputs, attention=attention)
            if number == len(mine):
                break  # for the others' sake: where the network is in shards, every pass takes all ranks
            likeliest = output.text_logits.argmax(-1).tolist()
            sums.tokens_right += sum(token in right for token, right in zip(likeliest, record.right, strict=True))
            sums.tokens += len(likeliest)
            lines = self._lines(
                record, FORCED, map(Tensor.cpu, self.method.forced(output, pack.targets, self.layout.chat))
            )
            for line in lines:
                sums.intersection, sums.union = _added(line, sums.intersection, sums.union)
            labels = (label for one in record.example.dialogues for label in one.labels)
            for line in self._lines(record, LABELS, map(self.method.ideal, labels)):
                sums.label_intersection, sums.label_union = _added(line, sums.label_intersection, sums.label_union)
            truths = [truth for case in record.asked.cases for truth in case.truths]
            assert record.asked.image is not None  # there are cases
            for line, truth in islice(zip(lines, truths, strict=True), max(samples - len(shown), 0)):
                shown.append(Sample(record.asked.image, truth.mask, line))
        network.train(was_training)
        totals = torch.tensor(list(vars(sums).values()), dtype=torch.float64, device=accelerator.device)
        return Sums(*accelerator.reduce(totals, "sum").tolist()).metrics(), shown

    def _lines(self, record: HeldOutRecord, variant: str, logits: Iterator[Tensor]) -> list[Line]:
        """The evaluation's lines for a record's cases; logits: of all their masks, in order, on the CPU."""
        answers = true_answers(record.asked.cases, logits)
        assert next(logits, None) is None  # as many masks are laid out as the cases have
        return list(self.scorer.lines(record.set, record.asked, variant, answers))


def held_out_score(recipe: Recipe, out: Path) -> Callable[[Any, Any, Accelerator, int], dict[str, float]]:
    """The `score` of a run (`stamp_train.train.loop.Score`) by its recipe; sample images go to `out`/predictions."""
    asked = recipe.evaluation
    found: list[HeldOut] = []  # one, once it is wanted

    def score(network: Any, processor: Any, accelerator: Accelerator, step: int) -> dict[str, float]:  # noqa: ARG001
        if not found:
            layout = Layout(processor.chat, network.method, network.config.text_config.max_position_embeddings)
            sets = [open_set(recipe.data, name) for name in asked.sets]
            found.append(HeldOut(sets, asked.records, layout, network.method, processor, asked.upsampling))
        metrics, samples = found[0].evaluate(network, accelerator, recipe.model.attention, asked.images)
        if accelerator.is_main_process:
            draw(samples, out / "predictions")
        return metrics

    return score


def _added(line: Line, intersection: float, union: float) -> tuple[float, float]:
    assert line.score is not None  # damaged records are refused when they are read
    terms = CONVENTIONS["stamp"].terms(line.score)
    return intersection + terms.intersection, union + terms.union


def right_tokens(
    dialogue: Dialogue, wording: str, chat: ChatEncoder, masks: Sequence[str] = ()
) -> list[tuple[int, frozenset[int]]]:
    """Every token that the assistant says in a dialogue, each with all that would be right in its place.

    wording: that its set was built with (`Settings.wording`). masks: what stands for every `<|seg|>`, where masks are written.
    """
    tokens = []
    left = iter(masks)
    answers = (message for message in dialogue.messages if message.role == "assistant")
    for number, message in enumerate(answers):
        text = "".join(part.text for part in message.content)
        own = list(islice(left, text.count(SEG)))
        said = _ids(text, own, chat)
        others = [
            _ids(one, own, chat)
            for one in alternatives(text, "answers", dialogue.said(number), text.count(SEG), wording)
        ]
        for place, token in enumerate(said):
            going_on = (other[place] for other in others if len(other) > place and other[:place] == said[:place])
            tokens.append((token, frozenset([token, *going_on])))
    return tokens


def _ids(text: str, masks: Sequence[str], chat: ChatEncoder) -> list[int]:
    written = in_words(text, iter(masks)) if masks else text
    return [*chat.answer_ids(written), chat.control["<|im_end|>"]]
