"""The tables of a comparison: cells once, for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from stamp_train.compare.intervals import Interval
from stamp_train.compare.results import Comparison, Row
from stamp_train.eval.scoring import FORCED, FREE

NOTHING = "–"
_FREE = {"ciou": "cIoU", "giou": "gIoU", "n_acc": "N-acc", "t_acc": "T-acc", "text_accuracy": "text"}
_FORCED = {"ciou": "cIoU, forced", "giou": "gIoU, forced"}
_COSTS = (
    "method",
    "parameters added",
    "tokens/mask",
    "LM passes/mask",
    "vision passes",
    "training FLOPs",
    "training s",
    "tokens/dialogue",
    "memory GiB",
    "answer ms",
    "masks ms",
)
_WIDE = 240  # characters where the terminal has no width of its own


@dataclass(frozen=True)
class Cells:
    """A table as text."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(found: Comparison) -> list[Cells]:
    """Scores of each set, then costs; what failed last."""
    drawn = [_scores(found, one.name) for one in found.sets]
    drawn.append(Cells("What it takes", _COSTS, [_cost(row) for row in found.rows]))
    if any(row.failed for row in found.rows):
        drawn.append(Cells("What failed, and is in no number", ("method", "seed", "why"), list(_failures(found.rows))))
    return drawn


def _scores(found: Comparison, name: str) -> Cells:
    free = [metric for metric in _FREE if any(_metric(row, name, FREE, metric) for row in found.rows)]
    heads = ["method", *(_FREE[metric] for metric in free), *_FORCED.values(), "ceiling cIoU", "ceiling gIoU"]
    cases = next(one.cases for one in found.sets if one.name == name)
    over = f"{len(found.seeds)} seed{'s' * (len(found.seeds) > 1)}"
    rows = [
        [
            row.name,
            *(interval(_metric(row, name, FREE, metric)) for metric in free),
            *(interval(_metric(row, name, FORCED, metric)) for metric in _FORCED),
            *(percent(row.ceiling.get(name, {}).get(metric)) for metric in _FORCED),
        ]
        for row in found.rows
    ]
    return Cells(f"{name}: per cent, {cases:,} cases, {over}, 95 % of records and seeds drawn anew", heads, rows)


def _metric(row: Row, name: str, mode: str, metric: str) -> Interval | None:
    return row.scores.get(name, {}).get(mode, {}).get(metric)


def interval(found: Interval | None) -> str:
    """`61.2 [58.9, 63.5]`, per cent."""
    if found is None:
        return NOTHING
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def percent(value: float | None) -> str:
    """One decimal."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def _cost(row: Row) -> list[str]:
    costs = row.costs
    if costs is None:
        return [row.name, *([NOTHING] * (len(_COSTS) - 1))]
    return [
        row.name,
        f"{costs.added:,.0f}",
        f"{costs.tokens_per_mask:,.1f}",
        f"{costs.passes_per_mask:,.1f}",
        f"{costs.vision_passes:,.1f}",
        f"{costs.training_operations:.2e}",
        f"{costs.training_seconds:,.1f}",
        f"{costs.training_tokens:,.1f}",
        f"{costs.memory:.2f}",
        f"{1e3 * costs.answer_seconds:,.1f}",
        f"{1e3 * costs.mask_seconds:,.1f}",
    ]


def _failures(rows: Sequence[Row]) -> Iterator[list[str]]:
    for row in rows:
        for seed, why in row.failed.items():
            yield [row.name, str(seed), why]


def show(found: Comparison) -> None:
    """Print the tables."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)  # a file or a pipe has no width of its own
    for cells in tables(found):
        drawn = Table(title=cells.title, title_justify="left", box=box.SIMPLE_HEAD)
        for number, head in enumerate(cells.heads):
            drawn.add_column(head, justify="right" if number else "left", no_wrap=not number)
        for row in cells.rows:
            drawn.add_row(*map(_literal, row))
        console.print(drawn)


def _literal(text: str) -> str:
    return text.replace("[", r"\[")  # rich would take `[58.9, 63.5]` for a style


def markdown(found: Comparison) -> str:
    """The tables with command and versions."""
    lines = [f"# {found.shared.recipe}: {', '.join(row.name for row in found.rows)}", "", f"    {found.command}", ""]
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines += [f"{found.steps:,} steps, seeds {', '.join(map(str, found.seeds))}; {found.device}; {versions}", ""]
    for cells in tables(found):
        lines += [f"## {cells.title}", "", _line(cells.heads), _line(["---"] * len(cells.heads))]
        lines += [*map(_line, cells.rows), ""]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"
