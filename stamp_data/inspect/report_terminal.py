"""The report on a terminal: header, table per set, histograms as blocks, the flags that were found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stamp_data.inspect.report import FlagCount, Histogram, InspectReport
from stamp_data.inspect.report import Group as Row
from stamp_data.text import printable

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
BLOCKS = " ▁▂▃▄▅▆▇█"
GAP = 2  # columns between two columns of a table
NARROWEST_NAME = 12
NARROW, WIDE = 75, 90  # characters: below, two bins share a block; from, units are written out


def _of_masks(row: Row, number: str) -> str:
    """A number that a set without any mask does not have."""
    return number if row.mask_area.count else "–"


@dataclass(frozen=True)
class Column:
    """One number per set. rank: columns of a higher rank go first where the terminal is narrow."""

    title: str
    rank: int
    value: Callable[[Row], str]


COLUMNS = (
    Column("records", 0, lambda row: f"{row.records:,}"),
    Column("expressions", 0, lambda row: f"{row.dialogues:,}"),
    Column("targets", 1, lambda row: f"{row.targets:,}"),
    Column("none %", 2, lambda row: f"{row.no_target_percent:.1f}"),
    Column("multi %", 3, lambda row: f"{row.multi_target_percent:.1f}"),
    Column("turns", 8, lambda row: f"{row.turns:.1f}"),
    Column("text", 6, lambda row: f"{row.text.mean:,.1f}"),
    Column("image", 9, lambda row: f"{row.image_tokens.mean:,.0f}"),
    Column("total", 7, lambda row: f"{row.total_tokens.mean:,.0f}"),
    Column("area % p5", 12, lambda row: _of_masks(row, f"{100 * row.mask_area.p5:.2f}")),
    Column("p50", 5, lambda row: _of_masks(row, f"{100 * row.mask_area.p50:.2f}")),
    Column("p95", 11, lambda row: _of_masks(row, f"{100 * row.mask_area.p95:.2f}")),
    Column("patches", 10, lambda row: _of_masks(row, f"{row.foreground_patches.p50:,.0f}")),
    Column("patch IoU", 4, lambda row: _of_masks(row, f"{row.quantisation_iou.mean:.3f}")),
    Column("E/W/I", 1, lambda row: "/".join(str(count) for count in row.flags.values())),
)


def run_terminal(report: InspectReport, console: Console) -> None:
    """Print the whole report. What does not fit in the console's width is left out, never wrapped."""
    console.print(_header(report))
    console.print(_table(report, console.width))
    console.print(_notes(report))
    console.print()
    console.print(_histograms(report, console.width))
    console.print()
    console.print(_flags(report))


def _header(report: InspectReport) -> Group:
    inputs = report.inputs
    settings = inputs[0].settings
    bounds = {(one.settings.min_tokens, one.settings.max_tokens) for one in inputs}
    patches = f"{settings.min_tokens}–{settings.max_tokens}" if len(bounds) == 1 else "several settings of"
    shards, size = sum(one.shards for one in inputs), sum(one.bytes for one in inputs)
    where = inputs[0].path if len(inputs) == 1 else f"{len(inputs)} sets"
    digest = f" · digest {inputs[0].digest[:12]}" if len(inputs) == 1 else ""
    rejects = sum(one.rejects for one in inputs)
    refused = f" · {rejects:,} rejects at build" if rejects else ""
    stats = f"{shards:,} shards · {size / 2**20:,.1f} MiB · {patches} patches per picture{refused}{digest}"
    return Group(
        Text(report.first_line(), style="bold", overflow="ellipsis", no_wrap=True),
        Text(f"{printable(where)} · {stats}", style="dim", overflow="ellipsis", no_wrap=True),
        Text(),
    )


def _table(report: InspectReport, width: int) -> Table:
    rows = [row for row in report.statistics.groups if row.records]
    names = [printable(row.set) for row in rows]
    if len(rows) != 1:
        rows.append(report.statistics.all)
        names.append("all")
    cells = {column: [column.value(row) for row in rows] for column in COLUMNS}
    widest = {column: max(map(len, [column.title, *values])) for column, values in cells.items()}
    kept, room = fitting(widest, width - max(NARROWEST_NAME, max(map(len, names))))
    name_width = max(map(len, names)) + min(room, 0)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("set", no_wrap=True, overflow="ellipsis", width=max(name_width, NARROWEST_NAME))
    for column in kept:
        table.add_column(column.title, justify="right", no_wrap=True, min_width=widest[column])
    for number, name in enumerate(names):
        last = len(rows) > 1 and number == len(names) - 1
        table.add_row(Text(name), *(cells[column][number] for column in kept), style="bold" if last else "")
    return table


def fitting(widths: dict[Column, int], room: int) -> tuple[list[Column], int]:
    """The columns that fit into `room` characters, in their order, and the room that is left (negative: too little)."""
    kept = list(widths)
    while len(kept) > 1 and sum(widths[column] + GAP for column in kept) > room:
        kept.remove(max(kept, key=lambda column: column.rank))
    return kept, room - sum(widths[column] + GAP for column in kept)


def _notes(report: InspectReport) -> Text:
    unit = report.sampling.text_unit
    words = {
        "tokens": "text in tokens",
        "characters": "text in characters; totals take 4 characters for a token (`build --tokenizer DIR` counts them)",
        "mixed": "text in tokens, partly estimated as characters / 4",
    }
    rounds = [f"{count:,} of {number} rounds" for number, count in report.statistics.all.rounds.items()]
    joined = f"dialogues joined: {', '.join(rounds)}; " if rounds else ""
    note = f"{joined}{words[unit]}; means per dialogue; {report.sampling.pictures} pictures decoded"
    return Text(note, style="dim", overflow="ellipsis", no_wrap=True)


def _histograms(report: InspectReport, width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for histogram in report.statistics.histograms:
        if histogram.counts:
            cells: list[RenderableType] = [
                histogram.title,
                _amount(histogram, histogram.edges[0]),
                _sparkline(histogram, narrow=width < NARROW),
                _amount(histogram, histogram.edges[-1]),
            ]
            if width >= WIDE:
                unit = "of the picture" if histogram.name == "mask_area" else histogram.unit
                scale = " (log)" if histogram.scale == "log" else ""
                budget = "" if histogram.mark is None else f", budget {histogram.mark:,.0f}"
                cells.append(Text(f"{unit}{scale}{budget}", style="dim"))
            table.add_row(*cells)
    return table


def _sparkline(histogram: Histogram, *, narrow: bool) -> Text:
    """One block per bin (per two where it is narrow); empty bins stay empty. Bins beyond the mark are red."""
    step = 2 if narrow else 1
    counts = [sum(histogram.counts[at : at + step]) for at in range(0, len(histogram.counts), step)]
    highest = max(counts)
    line = Text(no_wrap=True, overflow="crop")
    for count, start in zip(counts, histogram.edges[::step], strict=False):
        block = BLOCKS[-(-count * (len(BLOCKS) - 1) // highest)]
        over = histogram.mark is not None and start >= histogram.mark
        line.append(block, style="red" if over else "green")
    return line


def _amount(histogram: Histogram, value: float) -> str:
    """An edge of a histogram in words."""
    if histogram.name == "mask_area":
        return f"{100 * value:.2g}%"
    return f"{value:.2f}" if histogram.name == "quantisation_iou" else f"{value:,.0f}"


def _flags(report: InspectReport) -> Group | Text:
    if not report.flags:
        return Text("No flags.", style="green")
    summary = report.summary
    heading = Text("Flags", style="bold").append(
        f"  {summary.error} errors · {summary.warning} warnings · {summary.info} infos"
        f" in {summary.flagged_records:,} records",
        style="not bold dim",
    )
    parts: list[Text | Padding] = [heading]
    for flag in report.flags:
        parts.append(_flag_line(flag))
        example = flag.examples[0]
        about = f"{printable(example.key)}: {printable(example.detail)}"
        parts.append(Padding(Text(about, style="dim", overflow="ellipsis", no_wrap=True), (0, 0, 0, 4)))
    first = report.flags[0]
    hint = f"stamp-data explain {first.code} · stamp-data inspect PATH --key {printable(first.examples[0].key)}"
    parts.append(Text(hint, style="dim italic", overflow="ellipsis", no_wrap=True))
    return Group(*parts)


def _flag_line(flag: FlagCount) -> Text:
    line = Text(overflow="ellipsis", no_wrap=True)
    line.append(f"  {flag.code}", style=STYLES[flag.severity])
    return line.append(f"  {flag.count:>5,}  ").append(flag.title)
