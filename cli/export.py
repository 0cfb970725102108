"""`stamp-data export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stamp_cli.console import print_json, progress_bar, say
from stamp_cli.inspect import Paths
from stamp_cli.make import Json

Polygons = Annotated[bool, typer.Option("--polygons", help="Outlines instead of pixels, where the format has both.")]
AllowLoss = Annotated[
    bool, typer.Option("--allow-loss", help="Export the rest where the format cannot hold everything.")
]


def export(
    paths: Paths,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="For masks json-png (the published layout), coco, labelme, label_studio, saco, masks (PNG and a table), hf or "
            "energon; for dialogues without masks ms-swift, llama-factory or openai.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder to write.")],
    polygons: Polygons = False,
    allow_loss: AllowLoss = False,
    json: Json = False,
) -> None:
    """Take shard sets elsewhere. What a format cannot hold is an error, unless --allow-loss is given; then it is named, also in
    losses.jsonl of the new folder.

    - **coco**, **hf** and **energon** hold everything
    - **json-png** has no place for ignored regions
    - **labelme**, **label_studio**, **masks** and **saco** have none for conversations, records without a picture, several
      masks in an answer, answers in words, the same words twice, and regions ignored for some targets only (**saco**: for any)
    - **ms-swift** (but for boxes), **llama-factory** and **openai** have none for masks

    `stamp-data build` takes what coco, labelme, label_studio, masks and saco wrote, splits included.
    """
    from stamp_data.export import export_sets
    from stamp_data.shards.manifest import find_sets

    with progress_bar() as report:
        done = export_sets(find_sets(*paths), to, out, polygons=polygons, allow_loss=allow_loss, progress=report)
    print_json(done) if json else print(done.summary())
    for note in done.notes:
        say(f"note: {note}")
