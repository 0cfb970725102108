"""Every metric of every set, and results beside the paper's Tables 2, 3 and 4."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import msgspec
from rich import box
from rich.table import Table

from stamp_data.doctor.published import Counts
from stamp_data.doctor.published import published as published_data
from stamp_train.eval.card import SetCard
from stamp_train.eval.metrics import CONVENTIONS
from stamp_train.eval.results import Results
from stamp_train.eval.scoring import REFINED

WHOLE, NARROW = 140, 100  # characters that the paper's widest table and that of all metrics need
_TITLES = {"ciou": "cIoU", "giou": "gIoU", "n_acc": "N-acc", "t_acc": "T-acc"}


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

    @property
    def heads(self) -> list[str]:
        """Titles of all columns."""
        return ["Method", "LLM / variant", *(column.title for column in self.columns), "Avg."]


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


def score_rows(results: Results, convention: str, width: int = WHOLE) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a table of every metric of every set and variant, per cent; without Pr@ where there is no room."""
    found = []
    for one in results.sets:
        found += [(one.name, variant, f"{one.cases:,}", scores[convention]) for variant, scores in one.scores.items()]
        for number, variants in one.rounds.items():
            found += [(f"  round {number}", variant, "", scores[convention]) for variant, scores in variants.items()]
    names = [name for name in CONVENTIONS[convention].formulas if any(name in metrics for *_, metrics in found)]
    if width < NARROW:
        names = [name for name in names if not name.startswith("pr@")]
    rows = [
        [title, variant, cases, *(percent(_hundredfold(metrics.get(name))) for name in names)]
        for title, variant, cases, metrics in found
    ]
    return ["Set", "Variant", "Cases", *(_TITLES.get(name, name.title()) for name in names)], rows


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


def own_table(results: Results, convention: str, width: int) -> Table:
    """Every metric of every set and variant; sets are parted by a line."""
    heads, cells = score_rows(results, convention, width)
    drawn = _table(f"Per cent, by the convention `{convention}`", heads)
    for before, line in zip([*cells[:1], *cells], cells, strict=False):
        if before[0] != line[0] and not line[0].startswith(" "):
            drawn.add_section()
        drawn.add_row(*line)
    return drawn


def paper_tables(results: Results, convention: str, width: int) -> list[Table]:
    """The paper's tables that have one of the sets; on fewer than `WHOLE` characters only their columns in question."""
    drawn = []
    for table in published().tables:
        rows = paper_rows(results, table, convention)
        if rows:
            own = [row for row in rows if row.own]
            shown = [
                place
                for place in range(len(table.columns))
                if width >= WHOLE or any(row.values[place] is not None for row in own)
            ]
            titles = ["Method", "LLM / variant", *(table.columns[place].title for place in shown), "Avg."]
            one = _table(f"Table {table.number}. {table.title}: per cent, own rows by `{convention}`", titles)
            for before, row in zip([None, *rows], rows, strict=False):
                if row.group and (before is None or before.group != row.group):
                    one.add_section()
                    one.add_row(row.group, style="dim")
                values = [percent(row.values[place]) for place in shown]
                one.add_row(row.method, row.llm, *values, percent(row.average), style="bold" if row.own else None)
            drawn.append(one)
    if drawn:
        drawn[-1].caption = f"Other rows: {published().source}"
    return drawn


def row_cells(row: Row) -> list[str]:
    """A row as text."""
    return [row.method, row.llm, *map(percent, row.values), percent(row.average)]


def percent(value: float | None) -> str:
    """One decimal, as in the paper."""
    return "–" if value is None else f"{value:.1f}"


def _own_rows(results: Results, table: PublishedTable, convention: str) -> list[Row]:
    others = unlike_published(results)
    scores = {one.name: one.scores for one in results.sets if one.name not in others}
    if not any(column.set in scores for column in table.columns):
        return []
    rows = []
    for variant in dict.fromkeys(variant for found in scores.values() for variant in found):
        values = [
            _hundredfold(scores.get(column.set, {}).get(variant, {}).get(convention, {}).get(column.metric))
            for column in table.columns
        ]
        whole = [value for value in values if value is not None]
        average = sum(whole) / len(whole) if len(whole) == len(values) else None
        group = table.groups[-1] if variant.endswith(REFINED) or len(table.groups) == 1 else table.groups[-2]
        rows.append(Row(group, "this run" if results.card.model else "labels", variant, values, average, own=True))
    return rows


def _hundredfold(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _table(title: str, heads: list[str]) -> Table:
    drawn = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)
    for number, head in enumerate(heads):
        if number < 2:
            drawn.add_column(head, no_wrap=True)
        else:
            drawn.add_column(head, justify="right", min_width=5)
    return drawn
