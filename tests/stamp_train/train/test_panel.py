"""What a run shows: rates over its last steps, against a clock that is set by hand."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stamp_train.train import panel
from stamp_train.train.panel import Watched, clock, watching
from stamp_train.train.runlog import Row


def watched(step: int, peak: float) -> Watched:
    """A step of 96 dialogues that needs 2 * 10^12 operations."""
    row = Row(
        step=step,
        stage="first",
        loss=1.0,
        losses={"text": 0.25, "boundary": 0.75},
        lr=1e-3,
        grad_norm=1.0,
        dialogues=96,
        tokens=1000,
        padding=0.04,
        batch_digest="",
        seconds=0.1,
        memory=1.5,
    )
    return Watched(row, 10, {}, 2e12, peak)


@pytest.mark.parametrize(("peak", "said"), [(16e12, "model flops use 25.0%"), (0.0, "flops/s 4 T")])
def test_rates_are_those_of_the_clock(
    peak: float, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step takes half a second, the waiting for its data included."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(panel, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(panel, "QUIET_SECONDS", 0.0)
    with watching() as watch:
        for step in range(1, 5):
            watch(watched(step, peak))
            clock.now += 0.5
    *_, last = capsys.readouterr().err.splitlines()
    facts = (
        "step 4/10, 40%, elapsed 0:00:02, left 0:00:03:",
        "dialogues/s 192.0",
        "tokens/s 2,000",
        "padding 4.0%",
        "text 0.2500, boundary 0.7500",
        "memory 1.5 GiB",
        said,
    )
    for fact in facts:
        assert fact in last


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00:00"),
        (59.6, "0:01:00"),
        (1900, "0:31:40"),
        (3599.7, "1:00:00"),
        (5400, "1:30:00"),
        (90_061, "25:01:01"),
    ],
)
def test_a_time_is_rounded_once_and_as_a_whole(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_terminal_shows_the_whole_headline(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The step, its share, elapsed and remaining time stand first, on a line of their own."""
    for name, value in {"COLUMNS": str(columns), "LINES": "24", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(panel, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with watching() as watch:
        for step in (2040, 2041):
            clock.now += 1900 / 4
            watch(replace(watched(step, 0.0), total=2045))
    lines = plain(capsys.readouterr().err).splitlines()
    headline = max(place for place, line in enumerate(lines) if "2041" in line)
    assert lines[headline].rstrip() == "step 2041/2045, 100%, elapsed 0:15:50, left 0:31:40"
    assert "stage first" in " ".join(lines[headline + 2 :])


def plain(text: str) -> str:
    """What is left of a terminal's text without its commands."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)
