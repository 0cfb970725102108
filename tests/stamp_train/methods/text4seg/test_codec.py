"""Run-length text of masks, against what the published code writes and reads, and there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stamp_train.methods.text4seg.codec import BACKGROUND, CLOSE, OPEN, PARSERS, enclosed, encode, parse, survives

GOLDEN = Path(__file__).parents[3] / "data/golden/text4seg"
CASES = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
MASKS = np.load(GOLDEN / "masks.npz")
WRITTEN = [pytest.param(case, id=f"{case['case']}-{case['grid']}") for case in CASES["encode"]]
READ = [pytest.param(case, id=case["case"]) for case in CASES["decode"]]
GRIDS = st.sampled_from([2, 5, 16]).flatmap(lambda side: arrays(np.uint8, (side, side), elements=st.integers(0, 1)))


def test_the_golden_files_are_whole() -> None:
    assert (len(WRITTEN), len(READ)) == (38, 26)


@pytest.mark.parametrize("case", WRITTEN)
def test_text_and_its_reading_are_those_of_the_published_code(case: dict[str, Any]) -> None:
    name, side = case["case"], case["grid"]
    grid = MASKS[f"{name}/g{side}/grid"]
    text = encode(grid, case["expression"])
    assert text == case["encoded"]
    read = parse(f"Sure, it is:\n<seg>{text}</seg>", side, "published")
    assert np.array_equal(read, MASKS[f"{name}/g{side}/decoded"])
    assert np.array_equal(read, grid) == case["round_trip_equal"]


@pytest.mark.parametrize("case", READ)
def test_malformed_text_is_read_as_the_published_code_reads_it(case: dict[str, Any]) -> None:
    assert parse(case["text"], 4, "published").tolist() == case["result"]


@pytest.mark.parametrize("case", WRITTEN)
def test_the_tolerant_parser_reads_all_but_what_says_something_else(case: dict[str, Any]) -> None:
    """Whole masks and bars too; `others` as an expression cannot be told from the background, nor `</seg>` from the end."""
    grid = MASKS[f"{case['case']}/g{case['grid']}/grid"]
    read = parse(enclosed(grid, case["expression"]), case["grid"], "tolerant")
    lost = case["expression"] == "others" or "</seg>" in case["expression"]
    assert np.array_equal(read, grid) != lost


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("<seg>Others *4\n dog *4\n OTHERS *8</seg>", ["0000", "1111", "0000", "0000"]),
        ("<seg>others *2|dog *2\nothers *4\n\n dog*4", ["0011", "0000", "1111", "0000"]),
        ("<seg>dog *9\n others *1\n dog *2| others *1\n others *4\n dog *4\n</seg>", ["1111", "0000", "1100", "0000"]),
        ("<seg>others *4\n dog *2 *2\n others *8\n</seg>", ["0000", "1111", "0000", "0000"]),
        ("<seg>others| dog *3</seg>", ["1111", "0000", "0000", "0000"]),
        ("<seg>others *4\n dog *4", ["0000", "1111", "0000", "0000"]),
        ("dog *4", ["0000", "0000", "0000", "0000"]),
    ],
    ids=["capitals", "spaces", "long", "two-counts", "no-count", "broken-off", "no-mask"],
)
def test_the_tolerant_parser_keeps_a_fault_in_its_row(text: str, rows: list[str]) -> None:
    assert ["".join(map(str, row)) for row in parse(text, 4, "tolerant").tolist()] == rows


@given(GRIDS, st.text(max_size=30))
def test_what_survives_is_read_back_whatever_the_mask(grid: np.ndarray, expression: str) -> None:
    side = len(grid)
    text = f"Here it is:\n{enclosed(grid, expression)} and so on"
    if survives(expression) and not grid.all():  # without an `others` the published parser sees no mask at all
        assert np.array_equal(parse(text, side, "published"), grid)
        assert np.array_equal(parse(text, side, "tolerant"), grid)


@given(GRIDS)
def test_the_fixed_label_is_read_back_of_every_mask(grid: np.ndarray) -> None:
    assert survives("object")
    assert np.array_equal(parse(enclosed(grid, "object"), len(grid), "tolerant"), grid)


@given(st.lists(st.sampled_from([OPEN, CLOSE, *"od| *\n0193_4-"]), max_size=60), st.sampled_from(PARSERS))
def test_any_text_is_some_grid(pieces: list[str], parser: str) -> None:
    text = "".join(pieces)
    for whole in (text, OPEN + text, OPEN + text + CLOSE):
        grid = parse(whole, 4, parser)
        assert grid.shape == (4, 4) and grid.dtype == np.uint8 and set(np.unique(grid)) <= {0, 1}


@pytest.mark.parametrize("parser", PARSERS)
def test_counts_that_nobody_could_mean_take_no_memory(parser: str) -> None:
    text = f"<seg>dog *{10**8}| others *{10**8}| dog *{'9' * 5000}\n</seg>"
    assert not parse(text, 16, parser)[1:].any()


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("the lady with the blue shirt", True),
        (" padded ", True),
        ("line\none", True),
        ("die Frau mit dem grünen Hut ＊", True),
        ("a|b", False),
        ("row *3 of books", False),
        ("x| y", False),
        (BACKGROUND, False),
        ("the '</seg>' sign", False),
        ("the '<seg>' sign", False),
        ("line\n two", False),
        ("others ", False),
        ("Others", False),  # background to the tolerant parser
    ],
)
def test_expressions_that_the_published_parser_loses(expression: str, kept: bool) -> None:
    assert survives(expression) == kept
