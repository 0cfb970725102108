"""What a run shows while it runs: a live panel on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from stamp_train.train.runlog import Row

QUIET_SECONDS = 10.0  # between two lines where no panel can be drawn
_STEPS = 20  # that rates are averaged over


@dataclass(frozen=True)
class Watched:
    """What a run tells after each step.

    total: steps of all stages. operations: floating-point ones that the step needed (`stamp_train.estimate.cost.operations`).
    peak: operations per second of all devices, 0 if that is not known.
    """

    row: Row
    total: int
    metrics: dict[str, float]
    operations: float
    peak: float


Watch = Callable[[Watched], None]


@dataclass
class _Rates:
    """Rates over the last steps, waiting for data included. began: of this call, which may go on with a run."""

    began: float = field(default_factory=lambda: time.monotonic())
    seen: deque[tuple[float, Watched]] = field(default_factory=lambda: deque(maxlen=_STEPS))

    def add(self, watched: Watched) -> None:
        self.seen.append((time.monotonic(), watched))

    def headline(self) -> str:
        """How far the run is, and how long that took and will take."""
        now, watched = self.seen[-1]
        step, total = watched.row.step, watched.total
        told = [f"step {step}/{total}", f"{step / total:.0%}", f"elapsed {clock(now - self.began)}"]
        if len(self.seen) > 1:
            pace = (now - self.seen[0][0]) / (len(self.seen) - 1)
            told.append(f"left {clock((total - step) * pace)}")
        return ", ".join(told)

    def facts(self) -> dict[str, str]:
        """Everything else worth a line, by name."""
        watched = self.seen[-1][1]
        row = watched.row
        facts = {
            "stage": row.stage,
            "loss": f"{row.loss:.4f}",
            **{name: f"{value:.4f}" for name, value in row.losses.items()},
            "learning rate": f"{row.lr:.2e}",
            "gradient": f"{row.grad_norm:.3f}",
            "memory": f"{row.memory:.1f} GiB",
            **{name: f"{value:.3f}" for name, value in watched.metrics.items()},
        }
        if len(self.seen) > 1:
            rows = [one.row for _, one in self.seen][1:]
            seconds = max(self.seen[-1][0] - self.seen[0][0], 1e-9)
            speed = sum(one.operations for _, one in list(self.seen)[1:]) / seconds
            facts |= {
                "dialogues/s": f"{sum(row.dialogues for row in rows) / seconds:,.1f}",
                "tokens/s": f"{sum(row.tokens for row in rows) / seconds:,.0f}",
                **({"model flops use": f"{speed / watched.peak:.1%}"} if watched.peak else {"flops/s": _short(speed)}),
                "padding": f"{sum(row.padding for row in rows) / len(rows):.1%}",
            }
        return facts


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 0:31:40."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _short(speed: float) -> str:
    """Operations per second in three digits: 31.2 T."""
    for unit, size in (("P", 1e15), ("T", 1e12)):
        if speed >= size:
            return f"{speed / size:.3g} {unit}"
    return f"{speed / 1e9:.3g} G"


@contextmanager
def watching() -> Iterator[Watch]:
    """A function to be told of every step; what it shows goes to stderr."""
    rates = _Rates()
    if not sys.stderr.isatty():
        yield _Lines(rates)
        return
    with Live(console=Console(stderr=True), refresh_per_second=4) as live:

        def show(watched: Watched) -> None:
            rates.add(watched)
            live.update(_panel(watched, rates))

        yield show


class _Lines:
    """A line for the first and the last step, and every ten seconds."""

    def __init__(self, rates: _Rates) -> None:
        self._rates, self._last = rates, float("-inf")

    def __call__(self, watched: Watched) -> None:
        self._rates.add(watched)
        now = time.monotonic()
        if now - self._last < QUIET_SECONDS and watched.row.step < watched.total:
            return
        self._last = now
        facts = ", ".join(f"{name} {value}" for name, value in self._rates.facts().items())
        print(f"{self._rates.headline()}: {facts}", file=sys.stderr, flush=True)


def _panel(watched: Watched, rates: _Rates) -> Group:
    """The headline stands alone on its line and first, where neither a narrow nor a low terminal crops it."""
    items = [f"[dim]{name}[/dim] {value}" for name, value in rates.facts().items()]
    return Group(
        Text(rates.headline()),
        ProgressBar(total=watched.total, completed=watched.row.step),
        "",  # ends the bar's line, which a bar does not do by itself
        Columns(items, padding=(0, 3)),
    )
