"""Intervals against a loop that draws cases one by one, and metrics against those of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from stamp_train.compare.intervals import Interval, Scored, intervals
from stamp_train.eval.metrics import CaseScore, Summary


def some(seed: int, records: int = 20, none: bool = True) -> list[Scored]:
    """Cases of a set, up to three for a record."""
    rng = np.random.default_rng(seed)
    found = []
    for record in range(records):
        for number in range(record % 3 + 1):
            no_target = none and (record + number) % 4 == 0
            target = 0 if no_target else int(rng.integers(1, 90))
            hit = int(rng.integers(0, target + 1))
            drawn = 0 if rng.random() < 0.3 else hit + int(rng.integers(0, 50))
            hit = min(hit, drawn)
            score = CaseScore(hit, drawn + target - hit, target, no_target, told_none=drawn == 0)
            found.append(Scored(f"r{record}", score, bool(rng.random() < 0.7)))
    return found


def test_values_are_those_of_the_evaluation_as_means_over_seeds() -> None:
    seeds = [some(1), some(2)]
    wanted = [Summary([one.score for one in lines]).metrics() for lines in seeds]
    found = intervals(seeds, 10)
    assert set(found) == {"ciou", "giou", "n_acc", "t_acc", "text_accuracy"}
    for metric in ("ciou", "giou", "n_acc", "t_acc"):
        assert found[metric].value == pytest.approx(np.mean([one[metric] for one in wanted]), abs=1e-12)
    right = [np.mean([one.right for one in lines]) for lines in seeds]
    assert found["text_accuracy"].value == pytest.approx(np.mean(right))


def test_ends_are_those_of_a_loop_that_draws_records_and_seeds() -> None:
    seeds, draws = [some(1), some(2), some(3)], 200
    names = sorted({one.record for one in seeds[0]})
    rng, drawn = np.random.default_rng(0), []
    for _ in range(draws):
        taken = rng.integers(3, size=3)
        rows = rng.integers(len(names), size=len(names))
        scores = []
        for seed in taken:
            cases = [one.score for row in rows for one in seeds[seed] if one.record == names[row]]
            scores.append(Summary(cases).metrics()["giou"])
        drawn.append(np.mean(scores))
    found = intervals(seeds, draws)["giou"]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Answers right with probability 0.7, each record of its own: of 200 samples some 190 intervals hold 0.7."""
    rng, held = np.random.default_rng(0), 0
    score = CaseScore(1, 1, 1, no_target=False, told_none=False)
    for _ in range(200):
        lines = [Scored(f"r{record}", score, bool(rng.random() < 0.7)) for record in range(60)]
        found = intervals([lines], 200)["text_accuracy"]
        held += found.low <= 0.7 <= found.high
    assert 178 <= held <= 198


def test_records_are_drawn_whole() -> None:
    """A picture whose cases go together counts once: its interval is that of one case for each record."""
    score = [CaseScore(int(right), 1, 1, no_target=False, told_none=False) for right in range(2)]
    single = [Scored(f"r{record:02}", score[record % 2]) for record in range(30)]
    found = {copies: intervals([[one for one in single for _ in range(copies)]], 300)["giou"] for copies in (1, 5)}
    assert found[1] == found[5]


def test_what_has_no_case_is_left_out() -> None:
    found = intervals([some(1, none=False)], 20)
    assert {"n_acc", "t_acc"}.isdisjoint(found)
    assert intervals([], 20) == {}
    empty = [Scored("r", CaseScore(0, 0, 0, no_target=True, told_none=True))]
    assert intervals([empty], 20)["ciou"] == Interval(1.0, 1.0, 1.0)
