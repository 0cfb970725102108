"""`stamp-data inspect` and `explain`: one report, and the forms that it can take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stamp_cli.console import print_json, progress_bar, say
from stamp_cli.make import Json
from stamp_data.inspect.overlays import Overlay

Paths = Annotated[list[str], typer.Argument(help="Built splits or folders of them; or URLs.", show_default=False)]
WHICH, SHOW = "Which records", "How they are shown"


def inspect(
    paths: Paths,
    where: Annotated[
        str | None,
        typer.Option(help="Only dialogues for which this holds; a wrong one lists all columns.", rich_help_panel=WHICH),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(help="Order by this column, -column for falling.", rich_help_panel=WHICH)
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Records sampled for the statistics.", rich_help_panel=WHICH)
    ] = 2000,
    everything: Annotated[bool, typer.Option("--all", help="All records.", rich_help_panel=WHICH)] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.", rich_help_panel=WHICH)] = 0,
    key: Annotated[str | None, typer.Option(help="One record in full.", rich_help_panel=WHICH)] = None,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of a packed sequence: marks and flags what is longer.", rich_help_panel=WHICH),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a gallery, one offline file.", rich_help_panel=SHOW)] = None,
    max_images: Annotated[int, typer.Option(min=1, help="Records in the gallery.", rich_help_panel=SHOW)] = 200,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet (PNG).", rich_help_panel=SHOW)] = None,
    cells: Annotated[int, typer.Option(min=1, help="Records on the contact sheet.", rich_help_panel=SHOW)] = 48,
    out: Annotated[Path | None, typer.Option(help="With --key: write the record as PNG.", rich_help_panel=SHOW)] = None,
    overlay: Annotated[Overlay, typer.Option(help="What is drawn on sheet and PNG.", rich_help_panel=SHOW)] = "mask",
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the gallery over all records.", rich_help_panel=SHOW)
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of --serve; 0 takes any.", rich_help_panel=SHOW)
    ] = 0,
    quiet: Annotated[bool, typer.Option("-q", help="Print nothing but keys.", rich_help_panel=SHOW)] = False,
    json: Json = False,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit 1 on these: error, warning, info, or flag codes, comma-separated.")
    ] = None,
) -> None:
    """Look at shard sets: tables and flags on the terminal, a contact sheet, a gallery in one file, or as a local page."""
    if key is not None:
        return _one(paths, key, out, overlay, budget)
    if sheet is not None:
        from stamp_data.inspect.sheet import write_sheet

        done = write_sheet(paths, sheet, limit=cells, seed=seed, where=where, sort=sort, overlay=overlay)
        return say(f"{done.out}: {done.records} records, {done.width}×{done.height} pixels")
    if quiet:
        from stamp_data.inspect.select import record_keys

        for name in record_keys(paths, seed=seed, where=where, sort=sort):
            print(name)
        return None
    from stamp_data.inspect.examine import examine
    from stamp_data.inspect.report import failures

    with progress_bar() as bar:
        report = examine(paths, limit=limit, everything=everything, seed=seed, where=where, budget=budget, progress=bar)
    objections = failures(report, fail_on) if fail_on else []
    if html is not None:
        from stamp_data.inspect.gallery import write_gallery

        with progress_bar() as bar:
            page = write_gallery(
                paths,
                html,
                max_images=max_images,
                seed=seed,
                where=where,
                sort=sort,
                budget=budget,
                report=report,
                progress=bar,
            )
        say(f"{page.out}: {page.records} of {page.total} records, {page.bytes / 2**20:.1f} MiB")
    elif serve:
        from stamp_data.inspect.server import serve as serve_gallery

        serve_gallery(
            paths,
            port=port,
            on_ready=lambda address: say(f"{address}\nCtrl-C ends it"),
            where=where,
            sort=sort,
            seed=seed,
            budget=budget,
            report=report,
        )
    elif json:
        print_json(report)
    else:
        from rich.console import Console

        from stamp_data.inspect.terminal import run_terminal

        run_terminal(report, Console())
    if objections:
        say("failed on " + ", ".join(f"{flag.code} ({flag.count})" for flag in objections))
        raise typer.Exit(1)
    return None


def _one(paths: list[str], key: str, out: Path | None, overlay: Overlay, budget: int | None) -> None:
    """One record: as a picture if `out` is given, else on the terminal."""
    if out is not None:
        from stamp_data.inspect.sheet import write_sample

        done = write_sample(paths, key, out, overlay=overlay)
        return say(f"{done.out}: {done.width}×{done.height} pixels")
    from rich.console import Console

    from stamp_data.inspect.one import show_record

    return show_record(paths, key, Console(), budget=budget)


def explain(code: Annotated[str, typer.Argument(help="A flag, such as STP-W003 or W003.", show_default=False)]) -> None:
    """Say what a flag of `inspect` means, why it matters and what to do about it."""
    from stamp_data.inspect.flags import explain as explanation

    print(explanation(code))
