"""What a run shows: rates over its last steps, against a clock that is set by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stamp_train import panel
from stamp_train.panel import Watched, watching
from stamp_train.runlog import Row


def watched(step: int, peak: float) -> Watched:
    """A step of 96 dialogues that needs 2 * 10^12 operations."""
    row = Row(
        step=step,
        stage="first",
        loss=1.0,
        loss_text=0.5,
        loss_mask=0.5,
        lr=1e-3,
        grad_norm=1.0,
        dialogues=96,
        tokens=1000,
        padding=0.04,
        batch_digest="",
        seconds=0.1,
    )
    return Watched(row, 10, {}, 1.5, 2e12, peak)


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
        "step 4/10:",
        "dialogues/s 192.0",
        "tokens/s 2,000",
        "padding 4.0%",
        "left 0:00:03",
        "memory 1.5 GiB",
        said,
    )
    for fact in facts:
        assert fact in last
