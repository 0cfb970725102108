"""What the labels of a method score themselves: its ceiling, whatever they are (`Method.label`, `Method.ideal`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from stamp_data.shards.members import Parsed
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.metrics import Summary
from stamp_train.eval.scoring import Line, Scorer
from stamp_train.generation.replies import Answer
from stamp_train.methods.contract import Method
from stamp_train.stream.examples import ExampleMaker, Prepare

LABELS = "labels"


def ceiling(source: CaseSet, prepare: Prepare, method: Method, upsampling: str) -> dict[str, float]:
    """Metrics of a set's cases, by our own convention, if each mask is what the method makes of its true label.

    prepare: the model's processor, which says how many patches a picture has. Records that cannot be read are left out.
    """
    make, scorer = ExampleMaker(prepare, method), Scorer(upsampling)
    return Summary([line.score for line in _lines(source, make, method, scorer) if line.score]).metrics()


def _lines(source: CaseSet, make: ExampleMaker, method: Method, scorer: Scorer) -> Iterator[Line]:
    for row in source.rows:
        asked = source.load(row)
        if asked.damaged or not asked.cases:
            continue
        loaded = source.shards.load(row)
        example = make(Parsed(loaded.record, memoryview(loaded.image or b""), loaded.labels), source.asking(row))
        masks = (method.ideal(label) for one in example.dialogues for label in one.labels)
        answers = [Answer("", case.begin, (), tuple(islice(masks, len(case.truths))), "stop") for case in asked.cases]
        yield from scorer.lines(source.name, asked, LABELS, answers)
