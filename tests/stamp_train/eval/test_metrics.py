"""Conventions against pixel-by-pixel loops, hand-made tables, and what the published evaluation printed."""

import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stamp_schemas import StampError
from stamp_train.eval.metrics import CONVENTIONS, CaseScore, Summary, score_case
from stamp_train.methods.upsample import to_mask

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
NOTHING = np.zeros((2, 3), bool)


def picture(*rows: str) -> np.ndarray:
    """Bool mask from rows such as `.##`."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def golden_cases() -> list[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """What the published evaluation reported of each expression, with predicted mask and target's values (0, 1, 2)."""
    arrays = np.load(GOLDEN / "metrics.npz")
    found = []
    for image in json.loads((GOLDEN / "metrics.json").read_text(encoding="utf-8"))["images"]:
        truths = arrays[f"image{image['image']}/gt"]
        for truth, reported in zip(truths, image["expressions"], strict=True):
            name = reported["prediction"]
            cells = np.zeros((4, 6), np.uint8) if name is None else arrays[name]
            logits = torch.from_numpy(cells.astype(np.float32)) - 0.5
            found.append((reported, to_mask(logits, *truth.shape, "published"), truth))
    return found


def test_published_convention_gives_what_the_published_evaluation_printed() -> None:
    """Its targets are not cut to 0 and 1: pixels of value 2 are no target there, so neither are they here."""
    expected = json.loads((GOLDEN / "metrics.json").read_text(encoding="utf-8"))
    summary = Summary()
    for reported, predicted, truth in golden_cases():
        case = score_case(predicted, truth == 1, no_target=not truth.any())
        assert (case.intersection, case.union) == (reported["intersection"][1], reported["union"][1])
        assert Summary([case]).metrics("published")["giou"] == pytest.approx(reported["iou_foreground"], abs=1e-7)
        summary.add(case)
    metrics = summary.metrics("published")
    assert list(metrics) == ["ciou", "giou"]
    assert metrics == pytest.approx({"ciou": expected["cIoU"], "giou": expected["gIoU"]}, abs=1e-6)
    assert f"gIoU: {metrics['giou']:.4f}, cIoU: {metrics['ciou']:.4f}" in expected["printed"][0]


MASKS = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31)).map(
    lambda drawn: np.random.default_rng(drawn[2]).random((3, *drawn[:2])) < [[[0.5]], [[0.4]], [[0.2]]]
)


@given(masks=MASKS, limit=st.integers(0, 6))
def test_counts_are_those_of_a_loop_over_pixels(masks: np.ndarray, limit: int) -> None:
    predicted, truth, ignore = masks
    for ignored in (None, ignore):
        case = score_case(predicted, truth, ignored, no_target_pixels=limit)
        pixels = [(p, t) for p, t, i in zip(*(m.ravel() for m in masks), strict=True) if ignored is None or not i]
        assert case.intersection == sum(p and t for p, t in pixels)
        assert case.union == sum(p or t for p, t in pixels)
        assert case.target == sum(t for _, t in pixels)
        drawn = sum(p for p, _ in pixels)
        assert case.told_none == (drawn < limit if limit else drawn == 0)


@given(masks=MASKS)
def test_ignored_pixels_are_those_of_the_published_histograms(masks: np.ndarray) -> None:
    """LISA writes 255 into both masks and counts values 0 and 1; any prediction in there changes nothing."""
    predicted, truth, ignore = masks
    target = np.where(ignore, 255, truth)
    output = np.where(target == 255, 255, predicted)
    areas = {
        name: np.histogram(values, bins=[0, 1, 2])[0][1]
        for name, values in (("both", output[output == target]), ("output", output), ("target", target))
    }
    case = score_case(predicted, truth, ignore)
    assert case.intersection == areas["both"]
    assert case.union == areas["output"] + areas["target"] - areas["both"]
    assert score_case(predicted | ignore, truth, ignore) == case == score_case(predicted & ~ignore, truth, ignore)


def test_conventions_of_one_hand_made_set() -> None:
    target = picture("##.", "##.")
    cases = [
        score_case(picture("##.", "##."), target),  # I 4, U 4
        score_case(picture(".##", ".##"), target),  # I 2, U 6
        score_case(picture("##.", "#.."), target),  # I 3, U 4: an IoU of 0.75
        score_case(NOTHING, target),  # I 0, U 4
        score_case(NOTHING, NOTHING, no_target=True),
        score_case(picture("###", "..."), NOTHING, no_target=True),  # U 3
    ]
    ious = [1, 1 / 3, 0.75, 0, 1, 0]
    found = {name: Summary(cases).metrics(name) for name in CONVENTIONS}
    decisions = {"n_acc": 1 / 2, "t_acc": 3 / 4, "pr@0.7": 2 / 4, "pr@0.8": 1 / 4, "pr@0.9": 1 / 4}
    assert found["stamp"] == pytest.approx({"ciou": 9 / 21, "giou": sum(ious) / 6, **decisions}, rel=1e-12)
    assert found["rela"] == found["stamp"]
    smoothed = [i / (u + 1e-5) for i, u in ((4, 4), (2, 6), (3, 4), (0, 4))]
    assert found["lisa"] == pytest.approx(
        {"ciou": 9 / (21 + 1e-10), "giou": (sum(smoothed) + 1) / (6 + 1e-5)}, rel=1e-12
    )
    assert found["published"] == pytest.approx({"ciou": 9 / (21 + 1e-5), "giou": (sum(smoothed) + 1) / 6}, rel=1e-12)


# ReLA's table: target, told to be none -> IoU, I, U. The prediction covers 2 of the target's 3 pixels and another 1.
RELA = [
    (True, True, 1.0, 0, 0),
    (True, False, 0.0, 0, 3),
    (False, True, 0.0, 0, 4),
    (False, False, 0.5, 2, 4),
]


@pytest.mark.parametrize(("no_target", "told_none", "iou", "intersection", "union"), RELA)
def test_no_target_table_of_rela(no_target: bool, told_none: bool, iou: float, intersection: int, union: int) -> None:
    predicted = picture(".##", "..#")
    truth = NOTHING if no_target else picture("###", "...")
    case = score_case(predicted, truth, no_target=no_target, no_target_pixels=4 if told_none else 3)
    assert case.told_none == told_none
    perfect = score_case(truth, truth, no_target=no_target)  # so that sums of cIoU show I and U
    assert Summary([case]).metrics("rela")["giou"] == iou
    added = Summary([case, CaseScore(10, 10, 10, False, False)]).metrics("rela")
    assert added["ciou"] == (10 + intersection) / (10 + union)
    assert Summary([perfect]).metrics("rela")["giou"] == 1.0
    rate = "n_acc" if no_target else "t_acc"
    other = CaseScore(10, 10, 10, False, False) if no_target else CaseScore(0, 0, 0, True, True)
    assert Summary([case, other]).metrics("rela")[rate] == (told_none if no_target else not told_none)


@given(masks=st.lists(MASKS, min_size=1, max_size=12), limit=st.integers(1, 8), seed=st.integers(0, 99))
def test_rela_by_its_table_case_after_case(masks: list[np.ndarray], limit: int, seed: int) -> None:
    rng = random.Random(seed)
    summary, ious, intersections, unions, hits = Summary(), 0.0, 0, 0, 0
    answers = {(none, told): 0 for none in (False, True) for told in (False, True)}
    for predicted, truth, _ in masks:
        target = truth & (rng.random() < 0.6)
        none, told = not target.any(), int(predicted.sum()) < limit
        summary.add(score_case(predicted, target, no_target=none, no_target_pixels=limit))
        both, either = int((predicted & target).sum()), int((predicted | target).sum())
        answers[none, told] += 1
        if none:
            iou, both, either = float(told), 0, 0 if told else either
        else:
            both = 0 if told else both
            iou = both / either
            hits += iou >= 0.7
        ious, intersections, unions = ious + iou, intersections + both, unions + either
    expected = {"ciou": intersections / unions if unions else 1.0, "giou": ious / len(masks)}
    if without := answers[1, 1] + answers[1, 0]:
        expected["n_acc"] = answers[1, 1] / without
    if having := answers[0, 0] + answers[0, 1]:
        expected |= {"t_acc": answers[0, 0] / having} if without else {}
        expected |= {"pr@0.7": hits / having}
    found = summary.metrics("rela")
    assert {metric: found[metric] for metric in expected} == pytest.approx(expected)
    assert found.keys() - expected.keys() == ({"pr@0.8", "pr@0.9"} if having else set())


def test_few_pixels_may_be_read_as_no_target_which_is_off_by_default() -> None:
    predicted, truth = picture("#..", "..."), picture("###", "...")
    plain = score_case(predicted, truth)
    read = score_case(predicted, truth, no_target_pixels=2)
    assert not plain.told_none and read.told_none
    assert Summary([plain]).metrics()["giou"] == pytest.approx(1 / 3)
    assert Summary([read]).metrics()["giou"] == 0.0
    for name in ("lisa", "published"):  # which know no such rule
        assert Summary([read]).metrics(name) == Summary([plain]).metrics(name)
    answered = score_case(predicted, NOTHING, no_target=True, no_target_pixels=2)
    assert Summary([answered]).metrics() == {"ciou": 1.0, "giou": 1.0, "n_acc": 1.0}


SCORES = st.lists(
    st.builds(
        lambda i, more, target, told: CaseScore(i, i + more, min(target + i, i + more), False, told),
        st.integers(0, 10**9),
        st.integers(0, 10**9),
        st.integers(0, 10**9),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(scores=SCORES, seed=st.integers(0, 99))
def test_any_order_and_any_ranks_give_the_same_bits(scores: list[CaseScore], seed: int) -> None:
    rng = random.Random(seed)
    shuffled = rng.sample(scores, len(scores))
    ranks = [Summary(shuffled[rank::3]) for rank in range(3)]
    for name in CONVENTIONS:
        metrics = Summary(scores).metrics(name)
        assert Summary(shuffled).metrics(name) == metrics
        assert (ranks[0] + ranks[1] + ranks[2]).metrics(name) == metrics
        assert (ranks[2] + (ranks[0] + ranks[1])).metrics(name) == metrics


@given(scores=SCORES)
def test_sums_are_exact(scores: list[CaseScore]) -> None:
    """Against rational numbers: one rounding per IoU, one of the sum, one of the division."""
    metrics = Summary(scores).metrics("lisa")
    plain = [(c.intersection, c.union) for c in scores]
    exact = sum((Fraction(i / (u + 1e-5)) if u else Fraction(1) for i, u in plain), Fraction(0))
    assert metrics["giou"] == float(exact) / (len(scores) + 1e-5)
    assert metrics["ciou"] == sum(i for i, _ in plain) / (sum(u for _, u in plain) + 1e-10) or not plain


def test_what_no_case_decides_is_not_reported() -> None:
    assert Summary().metrics() == {}
    only_targets = Summary([score_case(NOTHING, ~NOTHING)]).metrics("rela")
    assert not {"n_acc", "t_acc"} & only_targets.keys() and only_targets["pr@0.7"] == 0.0
    only_none = Summary([score_case(NOTHING, NOTHING, no_target=True)]).metrics("rela")
    assert only_none == {"ciou": 1.0, "giou": 1.0, "n_acc": 1.0}


def test_every_metric_has_a_formula_and_every_convention_a_source() -> None:
    target = picture("##.", "...")
    both = Summary([score_case(target, target), score_case(NOTHING, NOTHING, no_target=True)])
    for name, convention in CONVENTIONS.items():
        assert list(both.metrics(name)) == list(convention.formulas)
        assert convention.source and all(convention.formulas.values())
        assert all(math.isfinite(value) for value in both.metrics(name).values())


def test_faults_have_names() -> None:
    with pytest.raises(StampError, match=r"2×3, 3×2"):
        score_case(NOTHING, NOTHING.T)
    with pytest.raises(StampError, match=r"differ in size"):
        score_case(NOTHING, NOTHING, NOTHING.T)
    with pytest.raises(StampError, match=r"without a target has a mask of 6 pixels"):
        score_case(NOTHING, ~NOTHING, no_target=True)
    with pytest.raises(StampError, match=r"'liza'.*stamp, lisa, rela, published"):
        Summary().metrics("liza")
