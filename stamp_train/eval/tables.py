"""Every metric of every set, and results beside the paper's Tables 2, 3 and 4: cells once, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from itertools import groupby
from typing import NamedTuple

import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stamp_data.doctor.published import Counts
from stamp_data.doctor.published import published as published_data
from stamp_data.web import reports
from stamp_train.eval.card import SetCard
from stamp_train.eval.metrics import CONVENTIONS
from stamp_train.eval.results import Results
from stamp_train.eval.scoring import REFINED

WHOLE, NARROW = 140, 100  # characters that the paper's widest table and that of all metrics need
TITLES = {"ciou": "cIoU", "giou": "gIoU", "n_acc": "N-acc", "t_acc": "T-acc"}
NOTHING = "–"


class Cells(NamedTuple):
    """A table as text. groups: rows, under a name each that may be empty."""

    title: str
    heads: Sequence[str]
    groups: Sequence[tuple[str, Sequence[reports.Row]]]

    @property
    def rows(self) -> list[Sequence[str]]:
        """Of all groups."""
        return [row.cells for _, rows in self.groups for row in rows]


class Column(msgspec.Struct, frozen=True):
    """One column of a published table: a metric of a set."""

    title: str
    set: str
    metric: str


class Row(msgspec.Struct, frozen=True):
    """One row. values: per cent, in the order of the columns, None where there is none; average: of them, as printed.

    own: it is not the paper's.
    """

    group: str
    method: str
    llm: str
    values: list[float | None]
    average: float | None
    own: bool = False


class PublishedTable(msgspec.Struct, frozen=True):
    """A table of the paper."""

    number: int
    title: str
    columns: list[Column]
    rows: list[Row]

    @property
    def groups(self) -> list[str]:
        """In their order."""
        return list(dict.fromkeys(row.group for row in self.rows))


class Published(msgspec.Struct, frozen=True):
    """What was published, and where."""

    source: str
    tables: list[PublishedTable]


@lru_cache
def published() -> Published:
    """The numbers of the paper (`published.json`)."""
    text = resources.files("stamp_train.eval").joinpath("published.json").read_bytes()
    return msgspec.json.decode(text, type=Published)


def paper_rows(results: Results, table: PublishedTable, convention: str) -> list[Row]:
    """A table with a row for every variant of the results, each in its group; nothing if it has none of their sets.

    A set is the published one only if it holds as much as that does: `unlike_published`.
    """
    own = _own_rows(results, table, convention)
    if not own:
        return []
    return [row for group in table.groups for row in (*table.rows, *own) if row.group == group]


def score_table(results: Results, convention: str, width: int = WHOLE) -> Cells:
    """Every metric of every set and variant, per cent, a group for each set; without Pr@ where there is no room."""
    found = []
    for one in results.sets:
        rows = [(one.name, variant, f"{one.cases:,}", scores[convention]) for variant, scores in one.scores.items()]
        for number, variants in one.rounds.items():
            rows += [(f"  round {number}", variant, "", scores[convention]) for variant, scores in variants.items()]
        found += [rows] if rows else []
    reported = {name for rows in found for *_, metrics in rows for name in metrics}
    names = [name for name in CONVENTIONS[convention].formulas if name in reported]
    if width < NARROW:
        names = [name for name in names if not name.startswith("pr@")]
    groups = [
        ("", [reports.Row([*words, *(percent(metrics.get(name)) for name in names)]) for *words, metrics in rows])
        for rows in found
    ]
    heads = ["Set", "Variant", "Cases", *(TITLES.get(name, name.title()) for name in names)]
    return Cells(f"Per cent, by the convention `{convention}`", heads, groups)


def unlike_published(results: Results) -> dict[str, str]:
    """Why sets that the paper's tables have by name are not those of the paper, by name."""
    columns = {column.set for table in published().tables for column in table.columns}
    reasons = {one.name: _difference(one) for one in results.card.settings.sets if one.name in columns}
    return {name: why for name, why in reasons.items() if why}


def _difference(one: SetCard) -> str:
    dataset = published_data().get(one.dataset)
    known = (dataset and dataset.count(one.split_by, one.split)) or Counts()
    counts = (("sentences", one.cases, known.sentences), ("pictures", one.pictures, known.images))
    joined = [f"dialogues of up to {one.rounds} rounds"] if one.rounds > 1 else []
    others = [
        f"{found:,} {what} (published {wanted:,})" for what, found, wanted in counts if wanted and wanted != found
    ]
    return ", ".join(joined + others)


def paper_tables(results: Results, convention: str, width: int = WHOLE) -> list[Cells]:
    """The paper's tables that have one of the sets; on fewer than `WHOLE` characters only their columns in question."""
    found = []
    for table in published().tables:
        rows = paper_rows(results, table, convention)
        if not rows:
            continue
        in_question = {place for row in rows if row.own for place, value in enumerate(row.values) if value is not None}
        shown = [place for place in range(len(table.columns)) if width >= WHOLE or place in in_question]
        heads = ["Method", "LLM / variant", *(table.columns[place].title for place in shown), "Avg."]
        groups = [
            (name, [reports.Row(_row_cells(row, shown), row.own) for row in some])
            for name, some in groupby(rows, key=lambda row: row.group)
        ]
        found.append(Cells(f"Table {table.number}. {table.title}", heads, groups))
    return found


def _row_cells(row: Row, shown: Sequence[int]) -> list[str]:
    values = [*(row.values[place] for place in shown), row.average]
    return [row.method, row.llm, *(NOTHING if value is None else f"{value:.1f}" for value in values)]


def drawn(cells: Cells, note: str = "", names: int = 2) -> Table:
    """A table for the terminal. note: goes on with its title; names: columns at its left that are no numbers."""
    table = Table(title=cells.title + note, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    for number, head in enumerate(cells.heads):
        if number < names:
            table.add_column(head, no_wrap=True)
        else:
            table.add_column(head, justify="right", min_width=5)
    for name, rows in cells.groups:
        table.add_section()
        if name:
            table.add_row(name, style="dim")
        for row in rows:
            table.add_row(*map(escape, row.cells), style="bold" if row.own else None)
    return table


def terminal(width: int) -> Console:
    """The console; as wide as that where the output is a file or a pipe, which has no width of its own."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def percent(value: float | None) -> str:
    """A ratio with one decimal, as in the paper."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def _own_rows(results: Results, table: PublishedTable, convention: str) -> list[Row]:
    others = unlike_published(results)
    scores = {one.name: one.scores for one in results.sets if one.name not in others}
    if not any(column.set in scores for column in table.columns):
        return []
    rows = []
    for variant in dict.fromkeys(variant for found in scores.values() for variant in found):
        ratios = [
            scores.get(column.set, {}).get(variant, {}).get(convention, {}).get(column.metric)
            for column in table.columns
        ]
        values = [None if ratio is None else 100 * ratio for ratio in ratios]
        whole = [value for value in values if value is not None]
        average = sum(whole) / len(whole) if len(whole) == len(values) else None
        group = table.groups[-1] if variant.endswith(REFINED) or len(table.groups) == 1 else table.groups[-2]
        rows.append(Row(group, "this run" if results.card.model else "labels", variant, values, average, own=True))
    return rows
