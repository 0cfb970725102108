"""`stamp-data inspect` and `explain`: one report, and the forms that it can take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import only_for, panels, print_json, progress_bar, say
from stamp_cli.make import Json
from stamp_data.draw import Overlay
from stamp_schemas import UsageFault

if TYPE_CHECKING:
    from stamp_data.inspect.selection import Selection

Paths = Annotated[list[str], typer.Argument(help="Built splits or folders of them; or URLs.")]
WHICH, SHOW = panels("Which records", "How they are shown")
TABLES = "tables"
SIDE = 4  # labels along a patch's side of the `fine` readout, which the recipes have
HEEDED = (  # parameters, and the forms of the answer that they have a say in
    (("where", "seed"), (TABLES, "--html", "--serve", "--sheet", "-q")),
    (("sort",), ("--html", "--serve", "--sheet", "-q")),
    (("limit", "everything"), (TABLES, "--html", "--serve")),
    (("budget",), (TABLES, "--html", "--serve", "--key")),
    (("json", "fail_on"), (TABLES, "--html")),
    (("max_images",), ("--html",)),
    (("cells",), ("--sheet",)),
    (("out",), ("--key",)),
    (("port",), ("--serve",)),
    (("tags",), ("--html", "--serve")),
)


def inspect(
    context: typer.Context,
    paths: Paths,
    where: Annotated[
        str | None, WHICH(help="Only dialogues for which this holds; a wrong one lists all columns.")
    ] = None,
    sort: Annotated[
        str | None, WHICH(help="Order by this column, -column for falling: with --html, --serve, --sheet or -q.")
    ] = None,
    limit: Annotated[int, WHICH(min=1, help="Records sampled for the statistics.")] = 2000,
    everything: Annotated[bool, WHICH("--all", help="All records.")] = False,
    seed: Annotated[int, WHICH(min=0, help="Seed of the sample.")] = 0,
    key: Annotated[str | None, WHICH(help="One record in full.")] = None,
    budget: Annotated[
        int | None, WHICH(min=1, help="Tokens of a packed sequence: marks and flags what is longer.")
    ] = None,
    side: Annotated[
        int,
        WHICH(
            min=1,
            max=28,
            help="Labels along a patch's side, which flags reckon with: 4 as in the recipes, 1 for the patch readout.",
        ),
    ] = SIDE,
    html: Annotated[Path | None, SHOW(help="Write a gallery, one offline file.")] = None,
    max_images: Annotated[int, SHOW(min=1, help="Records in the gallery.")] = 200,
    sheet: Annotated[Path | None, SHOW(help="Write a contact sheet (PNG).")] = None,
    cells: Annotated[int, SHOW(min=1, help="Records on the contact sheet.")] = 48,
    out: Annotated[Path | None, SHOW(help="With --key: write the record as PNG.")] = None,
    overlay: Annotated[Overlay, SHOW(help="What is drawn on sheet and PNG.")] = "mask",
    serve: Annotated[bool, SHOW("--serve", help="Serve the gallery over all records.")] = False,
    port: Annotated[int, SHOW(min=0, max=65535, help="Port of --serve; 0 takes any.")] = 0,
    tags: Annotated[
        Path | None,
        SHOW(help="List of tagged records (JSON lines): shown, and with --serve written; `build --exclude` reads it."),
    ] = None,
    quiet: Annotated[bool, SHOW("-q", help="Print nothing but keys.")] = False,
    json: Json = False,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit 1 on these: error, warning, info, or flag codes, comma-separated.")
    ] = None,
) -> None:
    """Look at shard sets: tables and flags on the terminal, a contact sheet, a gallery in one file, or as a local page."""
    form = _form({"--key": key, "--sheet": sheet, "-q": quiet, "--html": html, "--serve": serve})
    for names, forms in HEEDED:
        only_for(context, " and ".join(forms), form in forms, *names)
    only_for(context, "--sheet, and --key with --out", form == "--sheet" or out is not None, "overlay")
    from stamp_data.inspect.report import failures, objections_of
    from stamp_data.inspect.selection import Selection

    selection = Selection(where, sort, seed, budget, side)
    if fail_on is not None:
        objections_of(fail_on)  # before any work: what it names has to be there
    if serve:
        from stamp_data.web.server import open_port  # and so have the extra for pages,

        open_port(port).close()  # and the port
    if key is not None:
        return _one(paths, key, out, overlay, selection)
    if sheet is not None:
        from stamp_data.inspect.sheet import write_sheet

        done = write_sheet(paths, sheet, selection, limit=cells, overlay=overlay)
        return print(f"{sheet}: {done.records} records, {done.width}×{done.height} pixels")
    if quiet:
        from stamp_data.inspect.selection import record_keys

        for name in record_keys(paths, selection):
            print(name)
        return None
    from stamp_data.inspect.inspection import inspect_sets

    with progress_bar() as bar:
        report = inspect_sets(paths, selection, limit=limit, everything=everything, progress=bar)
    objections = failures(report, fail_on) if fail_on is not None else []
    if html is not None:
        from stamp_data.inspect.gallery import write_gallery

        with progress_bar() as bar:
            page = write_gallery(paths, html, selection, max_images=max_images, report=report, tags=tags, progress=bar)
        told = f"{html}: {page.records} of {page.total} records, {page.bytes / 2**20:.1f} MiB"
        say(told) if json else print(told)
    elif serve:
        from stamp_data.inspect.server import Gallery, open_server

        gallery = Gallery(paths, selection, report, tags)
        server = open_server(gallery, port)
        gallery.index.start()
        server.run(lambda address: say(f"{address}\nCtrl-C ends it"))
    if json:
        print_json(report)
    elif form == TABLES:
        from rich.console import Console

        from stamp_data.inspect.report_terminal import run_terminal

        run_terminal(report, Console())
    if objections:
        say("failed on " + ", ".join(f"{flag.code} ({flag.count})" for flag in objections))
        raise typer.Exit(1)
    return None


def _form(forms: dict[str, object]) -> str:
    """The option that says how the answer is shown, `tables` if none does."""
    chosen = [name for name, given in forms.items() if given not in (None, False)]
    if len(chosen) > 1:
        raise UsageFault(f"{' and '.join(chosen)} are different forms of the answer", "give one of them")
    return chosen[0] if chosen else TABLES


def _one(paths: list[str], key: str, out: Path | None, overlay: Overlay, selection: Selection) -> None:
    """One record: as a picture if `out` is given, else on the terminal."""
    if out is not None:
        from stamp_data.inspect.sheet import write_sample

        done = write_sample(paths, key, out, overlay=overlay)
        return print(f"{out}: {done.width}×{done.height} pixels")
    from rich.console import Console

    from stamp_data.inspect.record_terminal import show_record

    return show_record(paths, key, Console(), selection)


def explain(code: Annotated[str, typer.Argument(help="A flag, such as STP-W003 or W003.")]) -> None:
    """Say what a flag of `inspect` means, why it matters and what to do about it."""
    from stamp_data.inspect.flags import explain as explanation

    print(explanation(code))
