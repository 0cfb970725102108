"""A comparison of made-up numbers."""

from __future__ import annotations

from typing import Any

from stamp_train.compare.folder import Asking, Shared
from stamp_train.compare.intervals import Interval
from stamp_train.compare.results import Comparison, Costs, Point, Row
from stamp_train.eval.card import SetCard

SET = "made/val"
COSTS = Costs(
    parameters=1e6,
    added=2500,
    training_operations=1.5e12,
    training_seconds=12.25,
    training_tokens=80.5,
    memory=0.75,
    answer_seconds=0.125,
    mask_seconds=0.0125,
    tokens_per_mask=7,
    passes_per_mask=1,
    vision_passes=1,
)


def row(name: str, **changes: Any) -> Row:
    metric = {metric: Interval(0.5, 0.25, 0.75) for metric in ("ciou", "giou", "n_acc", "t_acc", "text_accuracy")}
    whole: dict[str, Any] = {
        "title": "a method",
        "method": {"name": name},
        "seeds": [0],
        "failed": {},
        "scores": {SET: {"free": metric, "forced": {key: metric[key] for key in ("ciou", "giou")}}},
        "ceiling": {SET: {"ciou": 0.9, "giou": 0.8}},
        "costs": COSTS,
        "curves": {0: [Point(1, 0.5, 0.1), Point(2, 1.0, 0.4)], 1: [Point(1, 0.7, 0.3)]},
    }
    return Row(name=name, **{**whole, **changes})


def comparison(*rows: Row, recipe: str = "small") -> Comparison:
    return Comparison(
        command=f"stamp-train compare --recipe {recipe}",
        shared=Shared(recipe=recipe, values={"about": recipe}, sets={SET: "d" * 32}, asking=Asking()),
        base="a" * 64,
        seeds=[0, 1],
        steps=2,
        batches={0: "b" * 32},
        sets=[SetCard(SET, "made", "", "val", "d" * 32, 12, 6, "paper", 0)],
        device="cpu",
        versions={"torch": "2"},
        rows=list(rows),
    )
