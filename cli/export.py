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
    to: Annotated[str, typer.Option("--to", help="json-png (the published layout), coco, labelme or hf.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder to write.")],
    polygons: Annotated[
        bool, typer.Option("--polygons", help="Outlines instead of pixels, where the format has both.")
    ] = False,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Export the rest where the format cannot hold everything.")
    ] = False,
    json: Json = False,
) -> None:
    """Take shard sets elsewhere. What a format cannot hold is an error, unless --allow-loss is given; then it is named.

    - **labelme** has no place for conversations, records without a picture, expressions without a target or with several
      masks, the same words twice for a target, and what is ignored for some targets of a picture only
    - **json-png** has none for ignored regions
    - **coco** and **hf** hold everything

    `stamp-data build coco` and `build labelme` take the folder that was written, splits included.
    """
    from stamp_data.export import export_sets
    from stamp_data.shards.manifest import find_sets

    with progress_bar() as report:
        done = export_sets(find_sets(*paths), to, out, polygons=polygons, allow_loss=allow_loss, progress=report)
    print_json(done) if json else print(done.summary())
    for note in done.notes:
        say(f"note: {note}")
