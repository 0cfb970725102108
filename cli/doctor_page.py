"""`doctor`'s answer as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from stamp_data.doctor import Report
from stamp_data.doctor.datasets import DatasetReport

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
STATES = {"ready": "green", "broken": "red", "half": "red", "absent": "dim"}


def show(report: Report) -> None:
    """Print datasets with their counts, remarks with remedies, what is to be downloaded, then what this machine lacks."""
    console = Console()
    console.print(_datasets(report))
    for dataset in report.datasets:
        _remarks(console, dataset)
    if report.nothing:
        line = Text("error: ", style="red").append(f"no dataset under {report.root}", style="default")
        console.print(line.append(f"; {report.foreign}" if report.foreign else "", style="default"), soft_wrap=True)
    if not report.foreign:
        _downloads(console, report)
    machine = Table("this machine", "", "remedy", title_justify="left", box=None, pad_edge=False)
    for fact in report.environment:
        machine.add_row(fact.name, Text(fact.value, style=COLOURS[fact.level]), Text(fact.remedy))
    console.print(machine)


def _datasets(report: Report) -> Table:
    table = Table("dataset", "split", "", *_numbers("images", "references", "sentences"), box=None, pad_edge=False)
    for dataset in report.datasets:
        name = f"{dataset.dataset} ({dataset.split_by})" if dataset.split_by else dataset.dataset
        state = Text(dataset.state, style=STATES[dataset.state])
        if not dataset.splits:
            table.add_row(name, "", state, "", "", "")
        for number, split in enumerate(dataset.splits):
            counts = [split.counts.images, split.counts.refs, split.counts.sentences]
            shown = ["" if count is None else f"{count:,}" for count in counts]
            table.add_row(name if number == 0 else "", split.split, state if number == 0 else "", *shown)
    return table


def _numbers(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _remarks(console: Console, dataset: DatasetReport) -> None:
    findings = [("", finding) for finding in dataset.findings]
    findings += [(f"/{split.split}", finding) for split in dataset.splits for finding in split.findings]
    for place, finding in findings:
        line = Text(f"{finding.level}: ", style=COLOURS[finding.level])
        line.append(f"{dataset.dataset}{place}: {finding.detail}", style="default")
        if finding.remedy:
            line.append(f" ({finding.remedy})", style="dim")
        console.print(line, soft_wrap=True)
    if dataset.state == "absent" and dataset.there:
        console.print(f"{dataset.dataset}: no annotations; there: {', '.join(dataset.there)}", soft_wrap=True)


def _downloads(console: Console, report: Report) -> None:
    """Each once, though several datasets share it."""
    places: dict[str, str] = {}
    needing: dict[str, list[str]] = {}
    for dataset in report.datasets:
        for part in dataset.downloads:
            places.setdefault(part.url, part.into or ".")
            needing.setdefault(part.url, []).append(dataset.dataset)
    if needing:
        console.print("not there, and where it comes from:")
    for url, datasets in needing.items():
        line = f"  {places[url]} ({', '.join(dict.fromkeys(datasets))}): {url}"
        console.print(Text(line, style="dim"), soft_wrap=True)
