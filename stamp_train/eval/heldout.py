"""A look at held-out records while training: cIoU of the masks and accuracy of the text, teacher-forced.

One packed forward pass per record gives both: the model is shown the true answer up to each `<|seg|>`, as in training. A
full evaluation lets it answer for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from stamp_data.pixels import decode_picture
from stamp_data.rle import decode
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import Location
from stamp_schemas import Record
from stamp_train.backbones.modeling import StampOutput
from stamp_train.eval.accepted_tokens import right_tokens
from stamp_train.eval.oracle import decode_labels
from stamp_train.methods.upsample import BILINEAR, GUIDED, Mask, to_mask
from stamp_train.sequence.layout import ImageExample, Layout
from stamp_train.stream.examples import ExampleMaker
from stamp_train.stream.records import Parsed
from stamp_train.stream.stage_loader import prepare_with


@dataclass(frozen=True)
class HeldOut:
    """One record, ready to be laid out.

    Attributes:
        record: as read.
        image: its picture's bytes.
        example: for the layout.
        right: for each token that the assistant says, in order, all that would be right in its place.
    """

    record: Record
    image: bytes
    example: ImageExample
    right: list[frozenset[int]]


@dataclass
class Tally:
    """Sums that metrics are made of; they add up over records and ranks."""

    intersection: float = 0.0
    union: float = 0.0
    label_intersection: float = 0.0
    label_union: float = 0.0
    tokens_right: float = 0.0
    tokens: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Metrics of all that was added.

        ciou: intersections over unions, both summed over all masks. label_ciou: what the labels themselves reach when they
        are decoded like a prediction. text_accuracy: share of the answers' places where the likeliest token is right, in the
        answer's wording or in another that the build could have drawn (`stamp_train.eval.accepted_tokens`).
        """
        return {
            "ciou": self.intersection / max(self.union, 1.0),
            "label_ciou": self.label_intersection / max(self.label_union, 1.0),
            "text_accuracy": self.tokens_right / max(self.tokens, 1.0),
        }


@dataclass
class Prediction:
    """One mask of a record, as truth and prediction, bool [height, width] of the picture."""

    held_out: HeldOut
    expression: str
    truth: Mask
    predicted: Mask


@dataclass
class Examiner:
    """Holds held-out records, decoded once, and examines models on them.

    Args:
        sets: where they lie.
        records: at most this many of each.
        layout: of the model's tokenizer.
        processor: of the model.
        upsampling: of masks and of labels to the picture's size, one of `stamp_train.methods.upsample.METHODS`.
    """

    sets: Sequence[Location]
    records: int
    layout: Layout
    processor: Any
    upsampling: str = BILINEAR
    held_out: list[HeldOut] = field(init=False)

    def __post_init__(self) -> None:
        self.held_out = [record for place in self.sets for record in self._read(place)]

    def _read(self, place: Location) -> Iterator[HeldOut]:
        make = ExampleMaker(prepare_with(self.processor), self.layout.options.side)
        with ShardSet(place) as records:
            for row in records.rows[: self.records]:
                loaded = records.load(row)
                if loaded.image is None or not loaded.record.targets:
                    continue
                record = loaded.record
                example = make(Parsed(record, memoryview(loaded.image), loaded.labels), range(len(record.dialogues)))
                said = [
                    token
                    for dialogue in record.dialogues
                    for token in right_tokens(dialogue, records.manifest.settings.wording, self.layout.chat)
                ]
                # The layout supervises just what assistants say, dialogue after dialogue.
                assert [token for token, _ in said] == self.layout([example]).targets.text_ids.tolist()
                yield HeldOut(record, loaded.image, example, [right for _, right in said])

    @torch.no_grad()
    def examine(
        self, network: Any, accelerator: Accelerator, attention: str = "auto", pictures: int = 0
    ) -> tuple[dict[str, float], list[Prediction]]:
        """Metrics over all records, every rank doing its share, and the first `pictures` predictions of this rank.

        The network comes back in the mode that it was in.
        """
        tally = Tally()
        shown: list[Prediction] = []
        was_training = network.training
        network.eval()
        mine = self.held_out[accelerator.process_index :: accelerator.num_processes]
        passes = -(-len(self.held_out) // accelerator.num_processes)
        for number, held_out in enumerate([*mine, *self.held_out[: passes - len(mine)]]):
            pack = self.layout([held_out.example]).to(accelerator.device)
            with accelerator.autocast():  # `network` is the bare one, which knows nothing of the run's precision
                output: StampOutput = network(inputs=pack.inputs, attention=attention)
            if number == len(mine):
                break  # for the others' sake: where the network is in shards, every pass takes all ranks
            likeliest = output.text_logits.argmax(-1).tolist()
            tally.tokens_right += sum(token in right for token, right in zip(likeliest, held_out.right, strict=True))
            tally.tokens += len(likeliest)
            for prediction, label in self._masks(held_out, output):
                _add(tally, prediction, label)
                if len(shown) < pictures:
                    shown.append(prediction)
        network.train(was_training)
        sums = torch.tensor(list(vars(tally).values()), dtype=torch.float64, device=accelerator.device)
        return Tally(*accelerator.reduce(sums, "sum").tolist()).metrics(), shown

    def _masks(self, held_out: HeldOut, output: StampOutput) -> Iterator[tuple[Prediction, Mask]]:
        """Every mask of a record with what was predicted, and what its labels decode to."""
        image = held_out.record.image
        assert image is not None  # _read keeps records with a picture only
        picture = np.asarray(decode_picture(held_out.image)) if self.upsampling == GUIDED else None
        wanted = (image.height, image.width, self.upsampling, picture)
        grids = iter(zip(output.mask_grids(), output.blocks, strict=True))
        for dialogue, example in zip(held_out.record.dialogues, held_out.example.dialogues, strict=True):
            for target, coverage in zip(dialogue.targets, example.coverage, strict=True):
                logits, block = next(grids)
                assert block.name == example.name  # blocks come in the order of the dialogues
                truth = decode(held_out.record.targets[target].rle).astype(bool)
                predicted = to_mask(logits.cpu(), *wanted)
                yield Prediction(held_out, dialogue.expression, truth, predicted), decode_labels(coverage, *wanted)


def _add(tally: Tally, prediction: Prediction, label: Mask) -> None:
    truth = prediction.truth
    tally.intersection += float((prediction.predicted & truth).sum())
    tally.union += float((prediction.predicted | truth).sum())
    tally.label_intersection += float((label & truth).sum())
    tally.label_union += float((label | truth).sum())
