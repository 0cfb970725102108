"""The tables of a comparison: cells once, for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stamp_data.web import reports
from stamp_train.compare.intervals import Interval
from stamp_train.compare.results import Comparison, Costs, Row
from stamp_train.eval.scoring import FORCED, FREE
from stamp_train.eval.tables import NOTHING, TITLES, Cells, drawn, percent, terminal

_FREE = {**TITLES, "text_accuracy": "text"}
_FORCED = {"ciou": "cIoU, forced", "giou": "gIoU, forced"}
_COSTS: dict[str, Callable[[Costs], str]] = {
    "parameters added": lambda costs: f"{costs.added:,.0f}",
    "tokens/mask": lambda costs: f"{costs.tokens_per_mask:,.1f}",
    "LM passes/mask": lambda costs: f"{costs.passes_per_mask:,.1f}",
    "vision passes": lambda costs: f"{costs.vision_passes:,.1f}",
    "training FLOPs": lambda costs: f"{costs.training_operations:.2e}",
    "training s": lambda costs: f"{costs.training_seconds:,.1f}",
    "tokens/dialogue": lambda costs: f"{costs.training_tokens:,.1f}",
    "memory GiB": lambda costs: f"{costs.memory:.2f}",
    "answer ms": lambda costs: f"{1e3 * costs.answer_seconds:,.1f}",
    "masks ms": lambda costs: f"{1e3 * costs.mask_seconds:,.1f}",
}
_WIDE = 240  # characters where the terminal has no width of its own


def tables(found: Comparison) -> list[Cells]:
    """Scores of each set, then costs; what failed last."""
    told = [_scores(found, one.name) for one in found.sets]
    told.append(_cells("What it takes", ("method", *_COSTS), [_cost(row) for row in found.rows]))
    failed = [[row.name, str(seed), why] for row in found.rows for seed, why in row.failed.items()]
    if failed:
        told.append(_cells("What failed, and is in no number", ("method", "seed", "why"), failed))
    return told


def _cells(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Cells:
    return Cells(title, heads, [("", list(map(reports.Row, rows)))])


def _scores(found: Comparison, name: str) -> Cells:
    free = [metric for metric in _FREE if any(_metric(row, name, FREE, metric) for row in found.rows)]
    heads = ["method", *(_FREE[metric] for metric in free), *_FORCED.values(), "ceiling cIoU", "ceiling gIoU"]
    cases = next(one.cases for one in found.sets if one.name == name)
    over = f"{len(found.seeds)} seed{'s' * (len(found.seeds) > 1)}"
    rows = [
        [
            row.name,
            *(_interval(_metric(row, name, FREE, metric)) for metric in free),
            *(_interval(_metric(row, name, FORCED, metric)) for metric in _FORCED),
            *(percent(row.ceiling.get(name, {}).get(metric)) for metric in _FORCED),
        ]
        for row in found.rows
    ]
    return _cells(f"{name}: per cent, {cases:,} cases, {over}, 95 % of records and seeds drawn anew", heads, rows)


def _metric(row: Row, name: str, mode: str, metric: str) -> Interval | None:
    return row.scores.get(name, {}).get(mode, {}).get(metric)


def _interval(found: Interval | None) -> str:
    """`61.2 [58.9, 63.5]`, per cent."""
    if found is None:
        return NOTHING
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _cost(row: Row) -> list[str]:
    return [row.name, *(NOTHING if row.costs is None else told(row.costs) for told in _COSTS.values())]


def show(found: Comparison) -> None:
    """Print the tables."""
    console = terminal(_WIDE)
    for cells in tables(found):
        console.print(drawn(cells, names=1))


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
