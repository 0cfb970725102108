"""The terminal: nothing wraps, nothing is obeyed, and the numbers are all there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from stamp_data.inspect.inspection import inspect_sets
from stamp_data.inspect.record_terminal import show_record
from stamp_data.inspect.report_terminal import run_terminal
from stamp_data.inspect.selection import Selection
from stamp_schemas import StampError

from ..making import ListSource, build, pictured
from .scenes import Scene, write_set


def plain_console(width: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, color_system=None, force_terminal=False), out


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_lines_fit_and_sets_take_one_line_each(width: int, zoo_set: Path) -> None:
    report = inspect_sets([zoo_set], Selection(budget=2000), everything=True)
    console, out = plain_console(width)
    run_terminal(report, console)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    (train,) = [line for line in lines if line.startswith("tiny/train")]
    assert train.split()[1] == "13"
    assert any(line.startswith("all") for line in lines)
    if width >= 200:
        for text in ("area % p5", "patch IoU", "stamp-data explain", "STP-W003", "13 ", "budget 2,000"):
            assert text in out.getvalue()


def test_first_line_says_that_it_is_a_sample(zoo_set: Path) -> None:
    console, out = plain_console(120)
    run_terminal(inspect_sets([zoo_set], Selection(seed=5), limit=3), console)
    assert out.getvalue().startswith("Sample of 3 of 15 records (seed 5; --all for every one)")


def test_nothing_matches(zoo_set: Path) -> None:
    console, out = plain_console(100)
    run_terminal(inspect_sets([zoo_set], Selection(where="area > 3")), console)
    assert "No flags." in out.getvalue()


@pytest.mark.parametrize("width", [50, 120])
def test_one_record_in_full(width: int, zoo_set: Path) -> None:
    console, out = plain_console(width)
    show_record([zoo_set], "r03", console)
    text = out.getvalue()
    for part in ("tiny/train", "the dog number 3", "2 passes", "no target", "<|seg|>", "█", "pair", "STP-"):
        assert (part in text) == (part != "STP-")
    assert max(map(len, text.splitlines())) <= width
    with pytest.raises(StampError, match="no record 'r99'"):
        show_record([zoo_set], "r99", console)


@pytest.mark.parametrize("width", [50, 120])
def test_a_record_says_where_it_came_from(width: int, tmp_path: Path) -> None:
    folder = build(ListSource(tmp_path / "raw", [pictured(tmp_path / "raw", 1)]), tmp_path / "out")
    console, out = plain_console(width)
    show_record([folder], "tiny-train-000000000001", console)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    for line in ("■ tiny.json: a box", "□ tiny.json: sentence 2", "  tiny.json: sentence 1"):
        assert line in lines


def test_a_conversation_has_no_patches(zoo_set: Path) -> None:
    console, out = plain_console(100)
    show_record([zoo_set], "talk", console)
    assert "A square of pixels." in out.getvalue()
    assert "█" not in out.getvalue()


def test_control_characters_and_markup_stay_text(tmp_path: Path) -> None:
    nasty = "\x1b]0;owned\x07\x1b[31m [bold]red[/bold] \u202e"
    write_set(tmp_path, [Scene("k").target(nasty, (5, 5, 50, 50), nasty).says(nasty, [0]).made()])
    console, out = plain_console(160)
    run_terminal(inspect_sets([tmp_path]), console)
    show_record([tmp_path], "k", console)
    assert not set("\x1b\x07\u202e") & set(out.getvalue())
    assert "[bold]red[/bold]" in out.getvalue()
