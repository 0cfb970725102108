"""`stamp-data export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stamp_cli.console import print_json, progress_bar, say
from stamp_cli.inspect import Paths
from stamp_cli.make import Json


def export(
    paths: Paths,
    to: Annotated[
        str, typer.Option("--to", help="json-png (the published layout), coco, labelme or hf.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder to write.", show_default=False)],
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Outlines instead of pixels, where the format has both.")
    ] = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Export the rest of what the format cannot hold.")
    ] = False,
    json: Json = False,
) -> None:
    """Take shard sets elsewhere. What the format cannot hold is named, and is an error unless --allow-loss is given."""
    from stamp_data.export import export_sets
    from stamp_data.shards.manifest import find_sets

    with progress_bar() as report:
        done = export_sets(find_sets(*paths), to, out, polygons=polygons, allow_loss=allow_loss, progress=report)
    if json:
        print_json(done)
    say(done.summary())
    for note in done.notes:
        say(f"note: {note}")
